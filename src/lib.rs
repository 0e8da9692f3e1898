//! roomcast
pub mod realtime;
