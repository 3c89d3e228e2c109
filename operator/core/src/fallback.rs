//! Leaves out objects that a proxy refuses, together with everything that depends on them.
