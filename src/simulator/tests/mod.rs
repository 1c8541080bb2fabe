//! The simulator over real sockets.

mod client;
mod control;
mod faults;
mod healthy;
mod port;
mod text;
