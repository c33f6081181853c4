//! What the mails say. Nothing that somebody typed stands in them, so nobody can write to strangers through us.

use crate::engine::mail::Mail;

/// Something that has happened to an account, of which its owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feature::auth) enum Notice {
    PasswordChanged,
    SecondFactorAdded,
    SecondFactorRemoved,
}

/// Writes the mails of a service.
pub(super) struct Letters {
    public_url: String,
}

impl Letters {
    pub(super) fn new(public_url: &str) -> Self {
        Letters { public_url: public_url.to_owned() }
    }

    /// What people know the service by: the address without its scheme.
    fn service(&self) -> &str {
        self.public_url.split_once("://").map_or(&*self.public_url, |(_, place)| place)
    }

    pub(super) fn verify(&self, to: &str, token: &str) -> Mail {
        let (service, url) = (self.service(), &self.public_url);
        let text = format!(
            "Please confirm that this address is yours:\n\n{url}/verify-email?token={token}\n\n\
             The link is good once, for one hour. If you have no account at {service}, ignore this mail:\n\
             without the link, nobody can confirm the address.\n"
        );
        Mail { to: to.to_owned(), subject: format!("Confirm your address for {service}"), text }
    }

    pub(super) fn reset_password(&self, to: &str, token: &str) -> Mail {
        let (service, url) = (self.service(), &self.public_url);
        let text = format!(
            "Somebody, hopefully you, asked for a new password at {service}. Set one here:\n\n\
             {url}/reset-password?token={token}\n\n\
             The link is good once, for one hour. If it was not you, ignore this mail:\n\
             your password stays as it is.\n"
        );
        Mail { to: to.to_owned(), subject: format!("A new password for {service}"), text }
    }

    pub(super) fn notice(&self, to: &str, notice: Notice) -> Mail {
        let service = self.service();
        let what = match notice {
            Notice::PasswordChanged => "The password of your account was changed",
            Notice::SecondFactorAdded => "A second factor was added to your account",
            Notice::SecondFactorRemoved => "The second factor of your account was removed",
        };
        let text = format!("{what} at {service}.\n\nIf it was not you, set a new password at once.\n");
        Mail { to: to.to_owned(), subject: format!("{what} at {service}"), text }
    }
}
