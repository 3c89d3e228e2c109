//! Placeholder: its owner writes it.
