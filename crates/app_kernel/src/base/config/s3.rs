//! Where copies of backups go: the `BACKUP_S3_…` variables, and the keys of AWS.

use super::environment::Environment;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// A bucket of S3, or of a store that speaks its language.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Its name.
    pub bucket: String,
    /// The store's address, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Where it lies.
    pub region: String,
    /// What names in it start with, or nothing.
    pub prefix: String,
    /// Who asks.
    pub access_key_id: Secret,
    /// What signs requests.
    pub secret_access_key: Secret,
}

impl Environment {
    pub(super) fn s3(&self) -> Result<Option<S3Config>> {
        let Some(bucket) = self.text("BACKUP_S3_BUCKET") else { return Ok(None) };
        let region = self.text("BACKUP_S3_REGION").unwrap_or_else(|| "us-east-1".to_owned());
        let key = |name: &str| {
            let missing = || Error::invalid(format!("BACKUP_S3_BUCKET is set and {name} is not; the bucket needs it"));
            self.secret(name).ok_or_else(missing)
        };
        Ok(Some(S3Config {
            bucket,
            endpoint: self.text("BACKUP_S3_ENDPOINT").unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
            region,
            prefix: self.text("BACKUP_S3_PREFIX").unwrap_or_default(),
            access_key_id: key("AWS_ACCESS_KEY_ID")?,
            secret_access_key: key("AWS_SECRET_ACCESS_KEY")?,
        }))
    }
}
