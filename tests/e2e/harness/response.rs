//! Answers, read the way a strict client reads them.

use super::Client;

/// A response: its head and, once read, its body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Parses a head without its final empty line.
    pub(crate) fn parse(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("a head in UTF-8");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a status line");
        let mut words = status_line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        assert!(matches!(version, "HTTP/1.1" | "HTTP/1.0"), "{status_line:?}");
        let status =
            words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status: {status_line:?}"));
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
                assert!(!name.ends_with([' ', '\t']) && !name.is_empty(), "a malformed name: {line:?}");
                (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        Self { status, headers, body: Vec::new() }
    }

    /// An answer over HTTP/2, with what there is of its body.
    pub(crate) fn of(fields: &[(String, String)], body: &[u8]) -> Self {
        let (name, status) = fields.first().expect("a field");
        assert_eq!(name, ":status", "the status comes first: {fields:?}");
        let headers = fields[1..].to_vec();
        let wrong = |name: &str| name.starts_with(':') || name.bytes().any(|byte| byte.is_ascii_uppercase());
        assert!(!headers.iter().any(|(name, _)| wrong(name)), "a name that may not be there: {fields:?}");
        let of_connections = ["connection", "keep-alive", "transfer-encoding", "upgrade"];
        assert!(!headers.iter().any(|(name, _)| of_connections.contains(&name.as_str())), "not in HTTP/2: {fields:?}");
        Self { status: status.parse().expect("a number"), headers, body: body.to_vec() }
    }

    /// Reads the body that belongs to a head.
    pub(crate) fn read(mut head: Self, method: &str, client: &mut Client) -> Self {
        let bodiless = method == "HEAD" || head.status / 100 == 1 || matches!(head.status, 204 | 304);
        if bodiless {
            return head;
        }
        head.body = if head.is_chunked() {
            let mut body = Vec::new();
            while let Some(chunk) = read_chunk(client).expect("a whole body") {
                body.extend_from_slice(&chunk);
            }
            body
        } else if let Some(length) = head.header("content-length") {
            let length = length.parse().expect("a number");
            client.exactly(length).expect("a whole body")
        } else {
            client.read_to_end()
        };
        head
    }

    /// The value of the one header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is given twice: {self:?}");
        value
    }

    /// The elements of all headers of this name, which are lists.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .map(|element| element.trim().to_ascii_lowercase())
            .filter(|element| !element.is_empty())
            .collect()
    }

    /// The values of all `Link` headers.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("link"));
        links.map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.list("transfer-encoding") == ["chunked"]
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// The body as `problem+json`: an object with the status and a sentence that says what is wrong.
    pub(crate) fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert!(problem.is_object(), "{problem}");
        if let Some(status) = problem.get("status") {
            assert_eq!(status, &u64::from(self.status), "{problem}");
        }
        problem
    }

    /// The bearer error of the challenge; `None` where it names none, a panic where there is no challenge.
    pub(crate) fn bearer_error(&self) -> Option<String> {
        let challenge = self.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {self:?}"));
        let parameters =
            challenge.strip_prefix("Bearer").unwrap_or_else(|| panic!("not a bearer challenge: {challenge}"));
        let start = parameters.find("error=\"")? + "error=\"".len();
        let end = parameters[start..].find('"').expect("a closed quote");
        Some(parameters[start..start + end].to_owned())
    }
}

/// One chunk of a chunked body; `Some(None)` at its proper end, `None` where the connection ends first.
pub(crate) fn read_chunk(client: &mut Client) -> Option<Option<Vec<u8>>> {
    let line = client.line()?;
    let digits = line.split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
    let data = client.exactly(size)?;
    if size == 0 {
        assert_eq!(client.line()?, "", "no trailers are expected");
        return Some(None);
    }
    assert_eq!(client.line()?, "", "a chunk ends with CRLF");
    Some(Some(data))
}
