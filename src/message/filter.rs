//! Which messages of a topic a consumer group wants.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::base::limits::TAGS_BYTES_MAX;
use crate::message::topic::java_hash;

/// Every message.
pub const ALL: &str = "*";
/// Expression type of tag expressions.
pub const TAG: &str = "TAG";
/// Expression type of SQL expressions over properties.
pub const SQL92: &str = "SQL92";

/// SubscriptionData: a topic and an expression over its messages, also as part of JSON bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// The consumer filters by a class of its own.
    pub class_filter_mode: bool,
    /// The hashes of the tags wanted.
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression, `*` for all.
    pub sub_string: String,
    /// Grows with every change; the client's clock, ms (or ns).
    pub sub_version: i64,
    /// The tags wanted; empty for all.
    pub tags_set: Vec<String>,
    /// Topic.
    pub topic: String,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: TAG.to_string(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl Subscription {
    /// From an expression such as `TagA || TagB`; an expression type of none or nothing is `TAG`.
    ///
    /// `Err` says what is wrong with the expression. One of another type is kept as it is.
    pub fn parse(topic: &str, expression: &str, kind: Option<&str>) -> Result<Self, &'static str> {
        let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or(TAG);
        let mut subscription = Subscription {
            topic: topic.to_string(),
            sub_string: expression.to_string(),
            expression_type: kind.to_string(),
            ..Subscription::default()
        };
        if kind != TAG {
            let wanted = (!expression.is_empty()).then_some(subscription);
            return wanted.ok_or("the expression must not be empty");
        }
        if expression.is_empty() || expression == ALL {
            subscription.sub_string = ALL.to_string();
            return Ok(subscription);
        }
        if expression.split("||").all(str::is_empty) {
            return Err("subString split error");
        }
        if expression.len() > TAGS_BYTES_MAX {
            return Err("the tags are too long");
        }
        let mut known = HashSet::new();
        for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
            if known.insert(tag) {
                subscription.tags_set.push(tag.to_string());
                subscription.code_set.push(java_hash(tag));
            }
        }
        Ok(subscription)
    }

    /// Whether a ConsumeQueue unit's tags code may belong to a message that is wanted.
    pub fn matches_code(&self, tags_code: i64) -> bool {
        self.class_filter_mode
            || self.sub_string == ALL
            || !self.is_tag()
            || self.code_set.contains(&(tags_code as i32))
    }

    /// The memory it takes, about.
    pub fn bytes(&self) -> usize {
        let tags: usize = self.tags_set.iter().map(|tag| size_of::<String>() + tag.len()).sum();
        let texts = self.topic.len() + self.sub_string.len() + self.expression_type.len();
        size_of::<Subscription>() + texts + tags + size_of_val(self.code_set.as_slice())
    }

    /// Whether the expression is one over tags.
    pub fn is_tag(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == TAG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_trimmed_and_hashed() {
        let wanted = Subscription::parse("T", " TagA || TagB||TagA", None).unwrap();
        assert_eq!(wanted.tags_set, ["TagA", "TagB"]);
        assert_eq!(wanted.code_set, [2598919, 2598920]);
        assert!(wanted.matches_code(2598919) && !wanted.matches_code(0));
        let code = i64::from(java_hash("tagBatch"));
        assert!(Subscription::parse("T", "tagBatch", Some("TAG")).unwrap().matches_code(code));
    }

    #[test]
    fn all_and_nothing() {
        for text in ["", "*"] {
            let all = Subscription::parse("T", text, Some("")).unwrap();
            assert_eq!((all.sub_string.as_str(), all.tags_set.len()), ("*", 0));
            assert!(all.matches_code(7));
        }
        assert!(Subscription::parse("T", "||", None).is_err());
        let long = |count| Subscription::parse("T", &"a||".repeat(count), None);
        assert_eq!(long(TAGS_BYTES_MAX / 3).unwrap().tags_set, ["a"]);
        assert!(long(TAGS_BYTES_MAX / 3 + 1).is_err());
        assert!(!Subscription::parse("T", " || ", None).unwrap().matches_code(7));
        assert!(Subscription::parse("T", "a > 1", Some(SQL92)).unwrap().matches_code(7));
        assert!(Subscription::parse("T", "", Some(SQL92)).is_err());
    }
}
