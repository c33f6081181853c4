//! stub
use std::marker::PhantomData;
use std::sync::Arc;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use super::{DatabaseUrl, DbError, DecodeError, Dialect, Operation, Options, Value};
#[derive(Debug)]
pub(crate) struct Driver;
impl Driver {
    pub(crate) async fn connect(_: &DatabaseUrl, _: &Options) -> Result<Self, DbError> { unimplemented!() }
    pub(crate) fn dialect(&self) -> &'static dyn Dialect { unimplemented!() }
    pub(crate) async fn read<O: Operation>(&self, _: O) -> Result<O::Output, DbError> { unimplemented!() }
    pub(crate) async fn write<O: Operation>(&self, _: Arc<O>) -> Result<O::Output, DbError> { unimplemented!() }
    pub(crate) async fn begin(&self) -> Result<Transaction, DbError> { unimplemented!() }
    pub(crate) async fn close(&self) {}
}
#[derive(Debug)]
pub(crate) struct Transaction;
impl Transaction {
    pub(crate) async fn run<O: Operation>(&mut self, _: O) -> Result<O::Output, DbError> { unimplemented!() }
    pub(crate) async fn commit(self) -> Result<(), DbError> { unimplemented!() }
    pub(crate) async fn rollback(self) {}
}
pub(crate) struct Session<'a>(PhantomData<&'a mut ()>);
impl Session<'_> {
    pub(crate) fn dialect(&self) -> &'static dyn Dialect { unimplemented!() }
    pub(crate) async fn execute(&mut self, _sql: &str, _params: &[Value]) -> Result<u64, DbError> { unimplemented!() }
    pub(crate) async fn query<T: Send>(&mut self, _sql: &str, _params: &[Value], _decode: impl FnMut(&super::RowRef<'_>) -> Result<T, DecodeError> + Send) -> Result<Vec<T>, DbError> { unimplemented!() }
    pub(crate) async fn batch(&mut self, _sql: &str) -> Result<(), DbError> { unimplemented!() }
}
pub struct RowRef<'a>(PhantomData<&'a ()>);
impl RowRef<'_> {
    pub(crate) fn is_null(&self, _: usize) -> Result<bool, DecodeError> { unimplemented!() }
    pub(crate) fn text(&self, _: usize) -> Result<&str, DecodeError> { unimplemented!() }
    pub(crate) fn bool(&self, _: usize) -> Result<bool, DecodeError> { unimplemented!() }
    pub(crate) fn int(&self, _: usize) -> Result<i64, DecodeError> { unimplemented!() }
    pub(crate) fn float(&self, _: usize) -> Result<f64, DecodeError> { unimplemented!() }
    pub(crate) fn timestamp(&self, _: usize) -> Result<Timestamp, DecodeError> { unimplemented!() }
    pub(crate) fn date(&self, _: usize) -> Result<Date, DecodeError> { unimplemented!() }
    pub(crate) fn time(&self, _: usize) -> Result<Time, DecodeError> { unimplemented!() }
    pub(crate) fn bytes(&self, _: usize) -> Result<&[u8], DecodeError> { unimplemented!() }
    pub(crate) fn any(&self, _: usize) -> Result<Value, DecodeError> { unimplemented!() }
    pub(crate) fn len(&self) -> usize { 0 }
    pub(crate) fn name(&self, _: usize) -> &str { "" }
}
