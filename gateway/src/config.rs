//! Configuration: `ConfigFile` as written, `Config` as checked.

pub(crate) mod issuers;
pub(crate) mod limits;
pub(crate) mod problems;
pub(crate) mod upstream;

pub(crate) use problems::Problems;
