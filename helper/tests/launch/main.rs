//! Launches real containers and looks at them from inside and from outside. Needs root, busybox-static and the
//! machine's cgroup v1 hierarchies.

mod endings;
mod execs;
mod failures;
mod harness;
mod hostile;
mod isolation;
mod streams;
mod terminals;
