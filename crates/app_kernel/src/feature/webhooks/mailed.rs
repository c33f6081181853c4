//! What owners are told by mail: that a webhook of their workspace was given up. Of its address stands there where it leads, and no more: paths
//! and queries may hold secrets.

use super::model::DisabledBecause;
use super::store::Webhook;
use crate::base::error::Result;
use crate::engine::mail::Mail;
use crate::feature::workspaces::addresses_of_owners;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// Has the owners told, with the transaction that gives the webhook up. Where mail is off, and where somebody wanted it, nobody is.
pub(super) async fn tell_owners(
    kernel: &Kernel,
    tx: &Db,
    webhook: &Saved<Webhook>,
    because: DisabledBecause,
) -> Result<()> {
    let (queue, public_url) = (kernel.mail_queue(), kernel.config().effective_public_url());
    let Some((subject, text)) = letter(&public_url, webhook, because).filter(|_| queue.is_on()) else { return Ok(()) };
    for to in addresses_of_owners(tx, &webhook.workspace_id).await? {
        queue.post(tx, Mail { to, subject: subject.clone(), text: text.clone() }).await?;
    }
    Ok(())
}

/// Its subject and its text; none where there is nothing to tell.
fn letter(public_url: &str, webhook: &Saved<Webhook>, because: DisabledBecause) -> Option<(String, String)> {
    let (why, cure) = match because {
        DisabledBecause::ByHand => return None,
        DisabledBecause::Gone => ("its receiver answered 410, which means that it wants no more", "If it should"),
        DisabledBecause::Failing => ("every try of five days has failed", "Once its receiver is well"),
    };
    // What people know the service by: the address without its scheme.
    let service = public_url.split_once("://").map_or(public_url, |(_, place)| place);
    let place = place_of(&webhook.url);
    let text = format!(
        "A webhook of your workspace at {service} is disabled: {why}.\n\n    webhook    {}\n    leads to   {place}\n    workspace  {}\n\n\
         Events are not sent to it any more. {cure}, enable it again, and have what was missed sent once more.\n",
        webhook.id, webhook.workspace_id
    );
    Some((format!("A webhook at {service} is disabled"), text))
}

/// The host and port of an address.
fn place_of(url: &str) -> String {
    let url = url::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "an address that can't be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn an_address_is_told_without_what_may_be_secret() {
        for (url, place) in [
            ("https://ann:hunter2@hooks.example.com/T0/hunter2?token=hunter2#hunter2", "hooks.example.com"),
            ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
            ("hunter2", "an address that can't be read"),
        ] {
            assert_eq!(place_of(url), place);
        }
    }
}
