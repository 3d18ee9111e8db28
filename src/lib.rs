//! netd, the connection front door for Linux servers.
//!
//! The rooms of the house, in layer order; each may import only what stands
//! above it (`tests/layers.rs` is the law, word for word).
//!
//! | layer | rooms | what lives there |
//! | --- | --- | --- |
//! | 0 tools | [`sys`], [`wire`], [`time`], [`slots`], [`pb`] | system calls (all `unsafe`), byte buffers, the timer wheel, the slab, generated gRPC types |
//! | 1 logic | [`protocol`], [`balance`], [`limit`], [`config`], [`metrics`] | decisions: bytes, events and time in; values out. No socket, no clock |
//! | 2 loop | [`reactor`], [`listen`] | one core's poll loop; listening sockets |
//! | 3 planes | [`worker`], [`process`] | the data plane's connections; the daemon as a Unix process |
//! | 4 control | [`control`] | the part that decides: requests in, worker commands out |
//! | 5 edges | [`admin`], [`cli`], [`handover`] | gRPC and metrics HTTP; `netctl`; the protocol of an upgrade |
//! | 6 root | [`daemon`], [`logging`], `bin/*` | the program's story |

// layer 0
pub mod pb;
pub mod slots;
pub mod sys;
pub mod time;
pub mod wire;
// layer 1
pub mod balance;
pub mod config;
pub mod limit;
pub mod metrics;
pub mod protocol;
// layer 2
pub mod listen;
pub mod reactor;
// layer 3
pub mod process;
pub mod worker;
// layer 4
pub mod control;
// layer 5
pub mod admin;
pub mod cli;
pub mod handover;
// layer 6
pub mod daemon;
pub mod logging;
