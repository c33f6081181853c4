//! The service as a program. `--help` says what it can do beside serving.

use app_kernel::prelude::*;

fn main() -> Result<()> {
    documents::service(ServiceConfig::from_env()?.dev_defaults()).run()
}
