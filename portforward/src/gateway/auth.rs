//! Who is asking, and what they may do.

use crate::http1::Fields;
use crate::status::Access;
use crate::tls::Subject;
use std::fmt;

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The name.
    pub name: String,
    /// The groups, for rules that name one.
    pub groups: Vec<String>,
}

/// What somebody may do. An empty list matches nothing, `*` everything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`.
    pub verbs: Vec<String>,
    /// API groups; empty string for the core group.
    pub groups: Vec<String>,
    /// Resources, a subresource behind a `/`.
    pub resources: Vec<String>,
    /// The namespace, `None` for all.
    pub namespace: Option<String>,
}

impl Rule {
    /// A rule for some verbs on some resources, in all groups and namespaces.
    #[must_use]
    pub fn new<'a>(
        verbs: impl IntoIterator<Item = &'a str>,
        resources: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let own = |list: &mut dyn Iterator<Item = &'a str>| list.map(str::to_owned).collect();
        Self {
            verbs: own(&mut verbs.into_iter()),
            groups: vec!["*".to_owned()],
            resources: own(&mut resources.into_iter()),
            namespace: None,
        }
    }

    /// Looking everything up: `get`, `list` and `watch`. No forwarding.
    #[must_use]
    pub fn look_up() -> Self {
        let mut rule = Self::new(["get", "list", "watch"], []);
        rule.resources = super::Kind::ALL
            .iter()
            .map(|k| k.resource().to_owned())
            .collect();
        rule
    }

    /// Forwarding to every pod: `create`, and `get` for what asks by GET, as WebSockets do.
    #[must_use]
    pub fn forward() -> Self {
        Self::new(["get", "create"], ["pods/portforward"])
    }

    /// The same rule in one namespace only.
    #[must_use]
    pub fn in_namespace(self, namespace: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            ..self
        }
    }

    fn allows(&self, access: &Access<'_>) -> bool {
        let any =
            |list: &[String], wanted: &str| list.iter().any(|have| have == "*" || have == wanted);
        any(&self.verbs, access.verb)
            && any(&self.groups, access.group)
            && any(&self.resources, access.resource)
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| namespace == access.namespace)
    }
}

/// The users a gateway knows: their tokens and rights.
///
/// A client certificate counts before a token, as in the real one; a user who is known by a
/// certificate needs no entry but has no rights without one.
#[derive(Clone, Default)]
pub struct Users {
    tokens: Vec<(Vec<u8>, User)>,
    rules: Vec<(Subjects, Rule)>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subjects {
    User(String),
    Group(String),
}

impl fmt::Debug for Users {
    /// Names, no tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .tokens
            .iter()
            .map(|(_, user)| user.name.as_str())
            .collect();
        f.debug_struct("Users")
            .field("with_token", &names)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

impl Users {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a user come in with a bearer token. An empty token is nobody's.
    pub fn add_token(&mut self, token: impl Into<Vec<u8>>, name: impl Into<String>) -> &mut Self {
        let token = token.into();
        if !token.is_empty() {
            self.tokens.push((
                token,
                User {
                    name: name.into(),
                    groups: Vec::new(),
                },
            ));
        }
        self
    }

    /// Gives a user a right.
    pub fn allow(&mut self, user: impl Into<String>, rule: Rule) -> &mut Self {
        self.rules.push((Subjects::User(user.into()), rule));
        self
    }

    /// Gives a group a right. Groups come from client certificates.
    pub fn allow_group(&mut self, group: impl Into<String>, rule: Rule) -> &mut Self {
        self.rules.push((Subjects::Group(group.into()), rule));
        self
    }

    /// Who sent a request.
    pub(super) fn identify(&self, certificate: Option<&Subject>, fields: &Fields) -> Option<User> {
        if let Some(subject) = certificate {
            return Some(User {
                name: subject.name.clone(),
                groups: subject.groups.clone(),
            });
        }
        let mut lines = fields.all("authorization");
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let (scheme, token) = line.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let token = token.trim_ascii();
        // All are looked at, whichever fits: the time says nothing about the others.
        let mut found = None;
        for (known, user) in &self.tokens {
            if same(known, token) {
                found = Some(user);
            }
        }
        found.cloned()
    }

    /// Whether the user may.
    pub(super) fn may(&self, user: &User, access: &Access<'_>) -> bool {
        self.rules.iter().any(|(subjects, rule)| {
            let concerned = match subjects {
                Subjects::User(name) => *name == user.name,
                Subjects::Group(name) => user.groups.contains(name),
            };
            concerned && rule.allows(access)
        })
    }
}

/// Compares in time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let mut users = Users::new();
        users
            .add_token("canary-a", "a")
            .add_token("canary-b", "b")
            .add_token("", "empty");
        users
            .allow("a", Rule::look_up())
            .allow("a", Rule::forward().in_namespace("ns"));
        users.allow_group("all", Rule::new(["*"], ["*"]));
        users
    }

    #[test]
    fn tokens_and_certificates() {
        let ask = |values: &[&'static str], subject: Option<&Subject>| {
            let mut fields = Fields::new();
            for value in values {
                fields.push("Authorization", *value).unwrap();
            }
            users().identify(subject, &fields).map(|u| u.name)
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(ask(&["Bearer canary-a"], None), some("a"));
        assert_eq!(ask(&["bearer   canary-b"], None), some("b"));
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer canary",
            "Bearer canary-aa",
            "Basic canary-a",
            "canary-a",
            "",
        ] {
            assert_eq!(ask(&[bad], None), None, "{bad}");
        }
        assert_eq!(
            ask(&["Bearer canary-a", "Bearer canary-b"], None),
            None,
            "two identities are none"
        );
        assert_eq!(ask(&[], None), None);
        let subject = Subject {
            name: "c".into(),
            groups: vec!["all".into()],
        };
        assert_eq!(ask(&["Bearer canary-a"], Some(&subject)), some("c"));
        assert!(!format!("{:?}", users()).contains("canary"));
    }

    #[test]
    fn rights() {
        let users = users();
        let user = |name: &str, groups: &[&str]| User {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        };
        let forward = |ns| Access::new("create", "", "pods/portforward", ns, "p");
        let list = Access::new("list", "apps", "deployments", "ns", "");
        assert!(users.may(&user("a", &[]), &forward("ns")));
        assert!(!users.may(&user("a", &[]), &forward("other")));
        assert!(!users.may(
            &user("a", &[]),
            &Access::new("delete", "", "pods/portforward", "ns", "p")
        ));
        assert!(users.may(&user("a", &[]), &list));
        assert!(!users.may(&user("b", &[]), &list));
        assert!(
            users.may(&user("b", &["all"]), &list)
                && users.may(&user("b", &["all"]), &forward("x"))
        );
    }
}
