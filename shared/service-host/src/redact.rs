//! A configuration for the log: everything but secrets.

use serde_json::Value;

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

/// Words in a key whose value is a secret, unless the key says that it only names where the secret lies.
const SECRET_WORDS: &[&str] = &["password", "passphrase", "secret", "token", "seed", "credential", "private"];
/// Endings of keys that name where a secret lies.
const POINTER_ENDINGS: &[&str] = &["_file", "_env", "_command", "_profile", "_dir"];

/// Replaces secrets, and the user part of URLs.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                if is_secret(key) && (member.is_string() || member.is_number()) {
                    *member = Value::from(HIDDEN);
                } else {
                    redact(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => {
            if let Some(clean) = without_user(text) {
                *text = clean;
            }
        }
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word)) && !POINTER_ENDINGS.iter().any(|end| key.ends_with(end))
}

/// `scheme://user:password@host` without the user part; none where there is none.
fn without_user(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{HIDDEN}@{host}{}", &rest[authority.len()..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_places_they_lie_in_are_not() {
        let mut value = json!({
            "nats": {"url": "nats://user:geheim@host:4222/x", "password_file": "/run/nats", "password": "geheim"},
            "keys": {"main": {"password_command": ["pass", "show", "vault"]}},
            "list": ["tls://geheim@host"],
        });
        redact(&mut value);
        let text = value.to_string();
        assert!(!text.contains("geheim"), "{text}");
        assert!(text.contains("/run/nats") && text.contains("@host:4222/x") && text.contains("\"show\""), "{text}");
    }
}
