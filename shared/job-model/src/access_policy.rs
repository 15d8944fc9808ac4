//! Vault access policies: IAM's language, as far as it is evaluated here. What is not evaluated is refused when the policy
//! is put, so that nothing stands in a vault that is not applied.
//!
//! Evaluated: `Effect`, `Principal` (`*`, account ids, ARNs of roots, roles and users, `*` anywhere), `Action` and
//! `NotAction` with `*`, `Resource` with `*`. Refused: `NotPrincipal`, `NotResource`, `Condition`, principals that are no
//! AWS identities. Who belongs to the vault's account may do what no statement denies; somebody else only what a
//! statement allows and none denies.

use serde_json::Value;

use crate::{Arn, Invalid, wildcard_matches};

/// AWS's limit of a policy's text.
const TEXT_BYTES_MAX: usize = 20 * 1024;

/// A policy that can be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    allows: bool,
    principals: Vec<String>,
    actions: Vec<String>,
    all_but_these_actions: bool,
    resources: Vec<String>,
}

impl AccessPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When it is no policy, or has something that is not evaluated here; the message names the member.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > TEXT_BYTES_MAX {
            let mend = format!("has {} bytes; a policy has at most {TEXT_BYTES_MAX}", text.len());
            return Err(Invalid::parameter("policy", "…", mend));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Invalid::parameter("policy", shown(text), format!("is not JSON: {error}")))?;
        let members = value.as_object().ok_or_else(|| wrong("", &value, "must be a JSON object"))?;
        for (name, member) in members {
            match name.as_str() {
                "Version" if matches!(member.as_str(), Some("2012-10-17" | "2008-10-17")) => {}
                "Version" => return Err(wrong("Version", member, "must be `2012-10-17`")),
                "Id" | "Statement" => {}
                _ => return Err(wrong(name, member, "is not evaluated here; leave it out")),
            }
        }
        let statements = match members.get("Statement") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err(Invalid::parameter("policy.Statement", "", "must be a statement or a list of them")),
        };
        let statements = statements.into_iter().enumerate().map(|(place, value)| statement(place, value));
        Ok(Self { statements: statements.collect::<Result<_, _>>()? })
    }

    /// Whether a statement denies the action on this vault to this principal.
    #[must_use]
    pub fn denies(&self, action: &str, principal: &Arn, resource: &Arn) -> bool {
        self.statements.iter().any(|statement| !statement.allows && statement.is_about(action, principal, resource))
    }

    /// Whether a statement allows it and none denies it.
    #[must_use]
    pub fn allows(&self, action: &str, principal: &Arn, resource: &Arn) -> bool {
        let allowed =
            self.statements.iter().any(|statement| statement.allows && statement.is_about(action, principal, resource));
        allowed && !self.denies(action, principal, resource)
    }
}

impl Statement {
    fn is_about(&self, action: &str, principal: &Arn, resource: &Arn) -> bool {
        let lower = action.to_ascii_lowercase();
        let named = self.actions.iter().any(|pattern| wildcard_matches(pattern, &lower));
        named != self.all_but_these_actions
            && self.principals.iter().any(|pattern| is_principal(pattern, principal))
            && self.resources.iter().any(|pattern| wildcard_matches(pattern, resource.as_str()))
    }
}

/// An account id or its root stands for everybody in the account.
fn is_principal(pattern: &str, principal: &Arn) -> bool {
    let account = pattern.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root")).unwrap_or(pattern);
    account == principal.account() || wildcard_matches(pattern, principal.as_str())
}

fn statement(place: usize, value: &Value) -> Result<Statement, Invalid> {
    let path = format!("Statement[{place}]");
    let members = value.as_object().ok_or_else(|| wrong(&path, value, "must be a JSON object"))?;
    for (name, member) in members {
        let known = ["Sid", "Effect", "Principal", "Action", "NotAction", "Resource"];
        if !known.contains(&name.as_str()) {
            let mend = "is not evaluated here, and what is not evaluated is not accepted; leave it out";
            return Err(wrong(&format!("{path}.{name}"), member, mend));
        }
    }
    let missing = |name: &str, mend: &str| Invalid::parameter(format!("policy.{path}.{name}"), "", mend);
    let allows = match members.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err(missing("Effect", "must be `Allow` or `Deny`")),
    };
    let principals = match members.get("Principal") {
        Some(Value::String(all)) if all == "*" => vec!["*".to_owned()],
        Some(Value::Object(map)) if map.len() == 1 && map.contains_key("AWS") => {
            texts(&format!("{path}.Principal.AWS"), &map["AWS"])?
        }
        Some(other) => {
            let mend = "must be `*` or `{\"AWS\": …}`; other principals do not exist here";
            return Err(wrong(&format!("{path}.Principal"), other, mend));
        }
        None => return Err(missing("Principal", "say who: `*` or `{\"AWS\": …}`")),
    };
    for principal in &principals {
        let account = principal.len() == 12 && principal.bytes().all(|b| b.is_ascii_digit());
        if principal != "*" && !account && !principal.starts_with("arn:") {
            let value = Value::String(principal.clone());
            return Err(wrong(&format!("{path}.Principal.AWS"), &value, "must be `*`, an account id or an ARN"));
        }
    }
    let (list, all_but_these_actions) = match (members.get("Action"), members.get("NotAction")) {
        (Some(list), None) => (list, false),
        (None, Some(list)) => (list, true),
        _ => return Err(missing("Action", "give either `Action` or `NotAction`")),
    };
    let actions: Vec<String> =
        texts(&format!("{path}.Action"), list)?.into_iter().map(|action| action.to_ascii_lowercase()).collect();
    for action in &actions {
        if action != "*" && !action.starts_with("backup:") {
            let value = Value::String(action.clone());
            return Err(wrong(&format!("{path}.Action"), &value, "must be `*` or an action of `backup:`"));
        }
    }
    let resources = match members.get("Resource") {
        Some(list) => texts(&format!("{path}.Resource"), list)?,
        None => return Err(missing("Resource", "say of what: `*`, or the ARN of the vault")),
    };
    Ok(Statement { allows, principals, actions, all_but_these_actions, resources })
}

fn texts(path: &str, value: &Value) -> Result<Vec<String>, Invalid> {
    let list: Option<Vec<String>> = match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    list.filter(|list| !list.is_empty()).ok_or_else(|| wrong(path, value, "must be a text or a list of texts"))
}

fn wrong(path: &str, value: &Value, problem: &str) -> Invalid {
    let field = if path.is_empty() { "policy".to_owned() } else { format!("policy.{path}") };
    Invalid::parameter(field, shown(&value.to_string()), problem)
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
