//! What is no service: the commands that print and check.

pub mod token;
