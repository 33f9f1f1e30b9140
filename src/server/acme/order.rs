//! One certificate, from the order to the chain that comes of it (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenges::{Answered, Challenges};
use super::client::Client;
use super::failure::{Failure, Said};
use super::store::{Store, StoredAccount, StoredOrder};
use crate::config::{Acme as Wanted, AcmeChallenge, ExternalAccount};

/// How long an authority may take to look, and how long to sign.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(120));

/// Gets the account, made the first time.
pub(super) async fn account(wanted: &Wanted, store: &Store, client: &Client) -> Result<Account, Failure> {
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let contact = wanted.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let Some(mut stored) = store.account()? {
        let credentials = serde_json::to_value(&stored.credentials).ok().and_then(|it| serde_json::from_value(it).ok());
        let credentials = credentials.expect("what was read can be written and read");
        let account = builder().from_credentials(credentials).await?;
        if stored.email != wanted.email {
            account.update_contacts(&contact).await?;
            stored.email.clone_from(&wanted.email);
            store.keep_account(&stored)?;
        }
        return Ok(account);
    }
    // `--acme` says so, as its help does.
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let key =
        |account: &ExternalAccount| instant_acme::ExternalAccountKey::new(account.id.clone(), &account.key_bytes());
    let key = wanted.external_account.as_ref().map(key);
    let (account, credentials) = builder().create(&new, wanted.directory.to_string(), key.as_ref()).await?;
    store.keep_account(&StoredAccount { email: wanted.email.clone(), credentials })?;
    tracing::info!(directory = %wanted.directory, "an ACME account was made");
    Ok(account)
}

/// Gets a certificate for a name: its key and its chain in PEM.
pub(super) async fn certificate(
    account: &Account,
    name: &str,
    way: AcmeChallenge,
    store: &Store,
    challenges: &Arc<Challenges>,
) -> Result<String, Failure> {
    let (mut order, key) = match resumed(account, name, store).await? {
        Some((order, key)) => (order, key),
        None => {
            let names = [Identifier::Dns(name.to_owned())];
            let mut order = account.new_order(&NewOrder::new(&names)).await?;
            if order.state().status == OrderStatus::Pending {
                prove(&mut order, name, way, challenges).await?;
            }
            let key = KeyPair::generate().map_err(unusable)?;
            // What is paid for with a limited right isn't lost with the process.
            store.keep_order(name, &StoredOrder { url: order.url().to_owned(), key: key.serialize_pem() })?;
            (order, key)
        }
    };
    if order.state().status == OrderStatus::Ready {
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(unusable)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(unusable)?;
        order.finalize_csr(request.der()).await?;
    }
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}

/// An order that an earlier try, or an earlier run of the hub, has left, if a certificate can come of it yet.
async fn resumed(account: &Account, name: &str, store: &Store) -> Result<Option<(Order, KeyPair)>, Failure> {
    let Some(StoredOrder { url, key }) = store.order(name)? else {
        return Ok(None);
    };
    let order = match account.order(url).await.map_err(Failure::from) {
        Ok(order) => Some(order),
        // It is there still, to be asked for next time.
        Err(failure @ Failure::Absent(_)) => return Err(failure),
        Err(_) => None,
    };
    let promising = |order: &mut Order| {
        matches!(order.state().status, OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid)
    };
    let found = order.and_then(|mut order| promising(&mut order).then_some(order)).zip(KeyPair::from_pem(&key).ok());
    if found.is_none() {
        store.forget_order(name);
    }
    Ok(found)
}

/// Shows that the name is the hub's own.
async fn prove(order: &mut Order, name: &str, way: AcmeChallenge, challenges: &Arc<Challenges>) -> Result<(), Failure> {
    // Answered until the authority has looked.
    let mut answered: Vec<Answered> = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(Failure::Unusable(format!("an authorization is {other:?}"))),
        }
        let kind = match way {
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            AcmeChallenge::Http01 => ChallengeType::Http01,
        };
        let mut challenge = authorization.challenge(kind).ok_or(Failure::NotOffered(way))?;
        let proof = challenge.key_authorization();
        answered.push(match way {
            AcmeChallenge::TlsAlpn01 => {
                challenges.answer_handshakes(name, proof.digest().as_ref()).map_err(unusable)?
            }
            AcmeChallenge::Http01 => challenges.answer_requests(&challenge.token, proof.as_str()),
        });
        challenge.set_ready().await?;
    }
    match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) | Err(instant_acme::Error::Api(_)) => {
            let said = why(order).await.unwrap_or_default();
            Err(Failure::Unproved { challenge: way, said })
        }
        Err(error) => Err(error.into()),
    }
}

/// What an authority that has looked in vain says about it.
async fn why(order: &mut Order) -> Option<Said> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(Said::new(problem));
        }
    }
    order.state().error.as_ref().map(Said::new)
}

fn unusable(error: rcgen::Error) -> Failure {
    Failure::Unusable(error.to_string())
}
