//! acl: which groups of consumers may pass.

use super::PluginSchema;
use crate::schema::{EntityCheck, Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("acl", 950).no_consumer().protocols_http().field("config", Field::of(Record::new([("allow", Field::array(Field::string()).describe("Arbitrary group names that are allowed to consume the service or route. One of `config.allow` or `config.deny` must be specified.")), ("deny", Field::array(Field::string()).describe("Arbitrary group names that are not allowed to consume the service or route. One of `config.allow` or `config.deny` must be specified.")), ("hide_groups_header", Field::boolean().required().default(false).describe("If enabled (`true`), prevents the `X-Consumer-Groups` header from being sent in the request to the upstream service.")), ("always_use_authenticated_groups", Field::boolean().required().default(false).describe("If enabled (`true`), the authenticated groups will always be used even when an authenticated consumer already exists. If the authenticated groups don't exist, it will fallback to use the groups associated with the consumer. By default the authenticated groups will only be used when there is no consumer or the consumer is anonymous."))])).required()).check(EntityCheck::OnlyOneOf(vec!["config.allow", "config.deny"])).check(EntityCheck::AtLeastOneOf(vec!["config.allow", "config.deny"]))
}
