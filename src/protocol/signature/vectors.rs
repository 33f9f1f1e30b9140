//! The worked examples of the standards: RFC 7515 appendix A.1 to A.3, RFC 8037 appendix A.4.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};

use super::install;

const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const HMAC_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const HS256_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const ES256_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

const ED25519_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const EDDSA_MESSAGE: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const EDDSA_SIGNATURE: &str = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn base64url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn assert_only_this_verifies(signature: &str, message: &str, key: &DecodingKey, algorithm: Algorithm) {
    install();
    let verify = |signature: &str, message: &str| crypto::verify(signature, message.as_bytes(), key, algorithm);
    assert_eq!(verify(signature, message), Ok(true));
    assert_eq!(verify(signature, &format!("{message}x")), Ok(false));
    assert_eq!(verify("", message), Ok(false));
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    assert_eq!(verify(&format!("{other}{}", &signature[1..]), message), Ok(false));
}

#[test]
fn rfc7515_a1_hs256() {
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}");
    let secret = base64url(HMAC_KEY);
    assert_only_this_verifies(HS256_SIGNATURE, &message, &DecodingKey::from_secret(&secret), Algorithm::HS256);
    let signed = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(&secret), Algorithm::HS256);
    assert_eq!(signed.unwrap(), HS256_SIGNATURE);
}

#[test]
fn rfc7515_a2_rs256() {
    let message = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}");
    let key = DecodingKey::from_rsa_components(RSA_MODULUS, "AQAB").unwrap();
    assert_only_this_verifies(RS256_SIGNATURE, &message, &key, Algorithm::RS256);
    // A key set that writes the modulus with a leading zero byte names the same key.
    let padded = [&[0], &base64url(RSA_MODULUS)[..]].concat();
    let key = DecodingKey::from_rsa_raw_components(&padded, &[0, 1, 0, 1]);
    assert_only_this_verifies(RS256_SIGNATURE, &message, &key, Algorithm::RS256);
}

#[test]
fn rfc7515_a3_es256() {
    let message = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
    let key = DecodingKey::from_ec_components(EC_X, EC_Y).unwrap();
    assert_only_this_verifies(ES256_SIGNATURE, &message, &key, Algorithm::ES256);
}

#[test]
fn rfc8037_a4_eddsa() {
    let key = DecodingKey::from_ed_components(ED25519_X).unwrap();
    assert_only_this_verifies(EDDSA_SIGNATURE, EDDSA_MESSAGE, &key, Algorithm::EdDSA);
}

#[test]
fn a_key_of_another_family_is_never_tried() {
    install();
    let public = DecodingKey::from_rsa_components(RSA_MODULUS, "AQAB").unwrap();
    assert!(crypto::verify(HS256_SIGNATURE, b"x", &public, Algorithm::HS256).is_err());
    let secret = DecodingKey::from_secret(&base64url(HMAC_KEY));
    assert!(crypto::verify(RS256_SIGNATURE, b"x", &secret, Algorithm::RS256).is_err());
}
