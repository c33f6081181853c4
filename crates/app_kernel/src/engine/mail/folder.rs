//! Mail in development: a file each, for the developer's eyes only, and a line in the log that says where it lies.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;

use super::{Mail, message};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::id::new_id;

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    from: Mailbox,
}

impl Folder {
    pub(super) fn new(path: PathBuf, mail_from: Option<&str>) -> Result<Self> {
        let from = if mail_from.is_some() { message::sender(mail_from)? } else { message::nobody() };
        Ok(Folder { path, from })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<()> {
        let written = message::compose(&self.from, mail)?.formatted();
        let (folder, file) = (self.path.clone(), self.path.join(format!("{}.eml", new_id())));
        let path = file.clone();
        let done = tokio::task::spawn_blocking(move || write(&folder, &path, &written));
        done.await.or_internal("writing a mail")?.map_err(|cause| {
            Error::unavailable(format!("DATA_DIR: can't write the mail {}", file.display())).cause(cause)
        })?;
        tracing::info!("mail `{}` lies in {}; SMTP_URL would send it", mail.subject, file.display());
        Ok(())
    }
}

#[cfg(unix)]
fn write(folder: &Path, file: &Path, mail: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(mail)
}

#[cfg(not(unix))]
fn write(folder: &Path, file: &Path, mail: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::OpenOptions::new().write(true).create_new(true).open(file)?.write_all(mail)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Promise: R-32
    #[tokio::test]
    async fn a_mail_is_a_file_that_only_its_owner_reads() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(data.path().join("mail"), None).expect("a sender");
        let mail = Mail { to: "ann@example.com".into(), subject: "Hello".into(), text: "a secret link\n".into() };
        folder.send(&mail).await.expect("sent");
        folder.send(&mail).await.expect("sent");
        let files: Vec<_> =
            std::fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("a file")).collect();
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(file.metadata().expect("rights").permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(file.path()).expect("text");
            assert!(text.contains("To: ann@example.com") && text.contains("a secret link"), "{text}");
        }
    }
}
