//! Configuration: compiled-in defaults, files over them, the environment over both.

pub mod checked;
