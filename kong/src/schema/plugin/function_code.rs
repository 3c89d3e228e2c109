//! What pre-function and post-function have in common. Whether their code is code is up to the gateway that runs it.

/// The phases that code may be given for.
pub(super) const PHASES: [&str; 6] =
    ["certificate", "rewrite", "access", "header_filter", "body_filter", "log"];
