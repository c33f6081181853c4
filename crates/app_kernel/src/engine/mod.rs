//! What runs beside the store. Each engine has its forms behind one behaviour.

pub mod rate_limit;
