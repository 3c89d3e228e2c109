//! What outlives a configuration: counters, cached answers, metrics. In memory only, made once per gateway.

/// State that configurations come and go around.
#[derive(Default)]
pub struct Lasting {}
