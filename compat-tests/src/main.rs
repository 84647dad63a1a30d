//! `cargo compat <suite>`: starts what a suite needs, runs it, reports, and keeps the logs of failures.

fn main() {}
