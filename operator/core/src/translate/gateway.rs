//! Gateway API: Gateways and their routes become rules.

use super::Context;
use super::rules::Rules;

/// Adds the rules of all routes that an accepted Gateway admits.
pub(super) fn rules<'a>(_ctx: &mut Context<'a>, _rules: &mut Rules<'a>) {}

/// The certificates of listeners: each pairs a Secret with the hostname that it serves.
#[allow(dead_code)]
pub(super) fn certificates<'a>(
    _ctx: &mut Context<'a>,
) -> Vec<super::rules::ListenerCertificate<'a>> {
    Vec::new()
}
