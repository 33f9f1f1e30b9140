//! Bytes to requests and responses: HTTP/1.1 heads and bodies, forms, cookies, CORS, problem documents. Knows nothing of hubs.
