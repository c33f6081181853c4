//! Faults while the service works: what was promised holds, and each test says so in a line.

mod dropped_clients;
