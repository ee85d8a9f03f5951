//! May they: one Rego decision on one input document.

pub mod principal;

pub use principal::{Actor, Binding, Principal, PrincipalKind};
