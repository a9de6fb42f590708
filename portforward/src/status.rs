//! Kubernetes `Status` objects: how an API server says no (PROTOCOL.md 2.3, 2.4).

use serde::{Deserialize, Serialize};
use std::fmt;

/// A failure as the API server reports it.
///
/// ```
/// use portforward::status::Status;
/// let status = Status::not_found("pods", "web");
/// assert_eq!(status.message, "pods \"web\" not found");
/// assert_eq!(Status::parse(&status.to_json()).unwrap().message, status.message);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The HTTP status; 0 when the object does not say.
    pub code: u16,
    /// One word for programs, such as `Forbidden`; empty when there is none.
    pub reason: String,
    /// The text for people. Not escaped when it was parsed.
    pub message: String,
    /// The object it is about.
    pub details: Option<Box<Details>>,
}

/// The object a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Details {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource, such as `pods`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// Why bytes are no [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAStatus {
    /// Not a JSON object.
    #[error("not a JSON object")]
    NoObject,
    /// An object without a text for people.
    #[error("a JSON object without a message")]
    NoMessage,
}

impl fmt::Display for Status {
    /// The message, escaped for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::escape::text(&self.message))
    }
}

/// What goes out, in the order of the real one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

impl Status {
    /// A failure with a code, a word and a text.
    #[must_use]
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: None,
        }
    }

    /// Reads any JSON object with a non-empty `message`, else `error`: that is what kubectl from
    /// 1.36 on takes for a Status, whatever else it says.
    ///
    /// # Errors
    /// It is no such object.
    pub fn parse(body: &[u8]) -> Result<Self, NotAStatus> {
        let value: serde_json::Value =
            serde_json::from_slice(body).map_err(|_| NotAStatus::NoObject)?;
        let object = value.as_object().ok_or(NotAStatus::NoObject)?;
        let text = |name: &str| {
            object
                .get(name)
                .and_then(|v| v.as_str())
                .filter(|v| !v.is_empty())
        };
        let message = text("message")
            .or_else(|| text("error"))
            .ok_or(NotAStatus::NoMessage)?;
        let code = object
            .get("code")
            .and_then(serde_json::Value::as_u64)
            .and_then(|c| u16::try_from(c).ok());
        Ok(Self {
            code: code.unwrap_or(0),
            reason: text("reason").unwrap_or_default().to_owned(),
            message: message.to_owned(),
            details: object
                .get("details")
                .and_then(|d| Details::deserialize(d).ok().map(Box::new)),
        })
    }

    /// The object as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &self.message,
            reason: &self.reason,
            details: self.details.as_deref(),
            code: self.code,
        };
        // Strings and numbers only: it cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
        }));
        self
    }

    // The table of PROTOCOL.md 2.3 and its neighbours.

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// A port-forward request that asks for no upgrade.
    #[must_use]
    pub fn upgrade_required() -> Self {
        Self::bad_request("Upgrade request required")
    }

    /// A pod that has no node.
    #[must_use]
    pub fn no_host(pod: &str) -> Self {
        Self::bad_request(format!("pod {pod} does not have a host assigned"))
    }

    /// No identity, or one that is not believed.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// An identity without the right.
    #[must_use]
    pub fn forbidden(access: &Access<'_>, user: &str) -> Self {
        let Access {
            verb,
            group,
            resource,
            namespace,
            name,
        } = *access;
        let plain = resource.split('/').next().unwrap_or(resource);
        let of_group = if group.is_empty() {
            String::new()
        } else {
            format!(".{group}")
        };
        let object = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let message = format!(
            "{plain}{of_group}{object} is forbidden: \
             User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"
        );
        Self::new(403, "Forbidden", message).about(group, plain, name)
    }

    /// A path that leads nowhere.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// An object that is not there; `resource` with its group, as in `deployments.apps`.
    #[must_use]
    pub fn not_found(resource: &str, name: &str) -> Self {
        let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found"))
            .about(group, kind, name)
    }

    /// A method that is not served at this place.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// A watch that starts before what is remembered.
    #[must_use]
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// A budget of this server is used up.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    /// 500.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The node cannot be reached.
    #[must_use]
    pub fn dialing(cause: &dyn fmt::Display) -> Self {
        Self::internal(format!("error dialing backend: {cause}"))
    }

    /// The node took no request.
    #[must_use]
    pub fn sending(cause: &dyn fmt::Display) -> Self {
        Self::internal(format!("error sending request: {cause}"))
    }

    /// The node answered below 400, and not with 101.
    #[must_use]
    pub fn invalid_upgrade(status: u16) -> Self {
        Self::internal(format!("invalid upgrade response: status code {status}"))
    }
}

/// What somebody wants to do, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access<'a> {
    /// `get`, `list`, `watch`, `create`.
    pub verb: &'a str,
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Resource, with its subresource behind a `/`.
    pub resource: &'a str,
    /// Namespace, empty for all.
    pub namespace: &'a str,
    /// Object, empty for all.
    pub name: &'a str,
}

impl<'a> Access<'a> {
    /// All five.
    #[must_use]
    pub const fn new(
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Self {
            verb,
            group,
            resource,
            namespace,
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NotAStatus::{NoMessage, NoObject};
    use super::*;

    /// Message, reason, code.
    type Read = Result<(&'static str, &'static str, u16), NotAStatus>;

    #[test]
    fn bodies() {
        let table: &[(&str, Read)] = &[
            (
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}"#,
                Ok(("pods \"x\" not found", "NotFound", 404)),
            ),
            (
                r#"{"metadata":{},"status":"Failure","message":"Upgrade request required","reason":"BadRequest","code":400}"#,
                Ok(("Upgrade request required", "BadRequest", 400)),
            ),
            (r#"{"message":"m"}"#, Ok(("m", "", 0))),
            (r#"  {"message":"m"}  "#, Ok(("m", "", 0))),
            (r#"{"error":"e"}"#, Ok(("e", "", 0))),
            (r#"{"message":"","error":"e"}"#, Ok(("e", "", 0))),
            (
                r#"{"message":"m","error":"e","code":"x"}"#,
                Ok(("m", "", 0)),
            ),
            (r#"{"message":"m","code":70000}"#, Ok(("m", "", 0))),
            (
                r#"{"message":"m","code":-1,"reason":7,"details":"odd"}"#,
                Ok(("m", "", 0)),
            ),
            (r#"{"message":7}"#, Err(NoMessage)),
            (r#"{"message":null,"error":""}"#, Err(NoMessage)),
            ("{}", Err(NoMessage)),
            ("[]", Err(NoObject)),
            ("\"message\"", Err(NoObject)),
            ("", Err(NoObject)),
            ("404 page not found\n", Err(NoObject)),
            (r#"{"message":"m"} trailing"#, Err(NoObject)),
            (r#"{"message":"m""#, Err(NoObject)),
        ];
        for (body, expected) in table {
            let parsed = Status::parse(body.as_bytes());
            let seen = parsed
                .as_ref()
                .map(|s| (s.message.as_str(), s.reason.as_str(), s.code))
                .map_err(|e| *e);
            assert_eq!(seen, *expected, "{body}");
        }
        assert_eq!(Status::parse(b"\xff\xfe"), Err(NoObject));
        // Nesting as deep as a small body can hold ends in an error, not in a deep stack.
        assert_eq!(Status::parse("[".repeat(65536).as_bytes()), Err(NoObject));
    }

    /// The table of PROTOCOL.md 2.3, text for text.
    #[test]
    fn what_the_gateway_says() {
        let access = Access::new("create", "", "pods/portforward", "ns", "web");
        let table = [
            (
                Status::upgrade_required(),
                400,
                "BadRequest",
                "Upgrade request required",
            ),
            (Status::unauthorized(), 401, "Unauthorized", "Unauthorized"),
            (
                Status::forbidden(&access, "u"),
                403,
                "Forbidden",
                "pods \"web\" is forbidden: User \"u\" cannot create resource \"pods/portforward\" in API group \"\" in the namespace \"ns\"",
            ),
            (
                Status::forbidden(&Access::new("list", "apps", "deployments", "", ""), "u"),
                403,
                "Forbidden",
                "deployments.apps is forbidden: User \"u\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope",
            ),
            (
                Status::not_found("pods", "web"),
                404,
                "NotFound",
                "pods \"web\" not found",
            ),
            (
                Status::no_host("web"),
                400,
                "BadRequest",
                "pod web does not have a host assigned",
            ),
            (
                Status::dialing(&"dial tcp"),
                500,
                "InternalError",
                "error dialing backend: dial tcp",
            ),
            (
                Status::sending(&"broken pipe"),
                500,
                "InternalError",
                "error sending request: broken pipe",
            ),
            (
                Status::invalid_upgrade(200),
                500,
                "InternalError",
                "invalid upgrade response: status code 200",
            ),
        ];
        for (status, code, reason, message) in table {
            assert_eq!(
                (status.code, status.reason.as_str(), status.message.as_str()),
                (code, reason, message)
            );
            assert_eq!(Status::parse(&status.to_json()).unwrap(), status);
        }
    }

    #[test]
    fn the_order_is_that_of_the_real_one() {
        assert_eq!(
            String::from_utf8(Status::not_found("deployments.apps", "web").to_json()).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        );
    }

    #[test]
    fn display_is_escaped() {
        let status = Status::parse(br#"{"message":"a\u001b[2Jb"}"#).unwrap();
        assert_eq!(status.to_string(), "a\\x1b[2Jb");
    }
}
