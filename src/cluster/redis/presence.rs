//! Who is subscribed where: the calls of `presence.lua`.

use std::time::Duration;

use super::reply::Reply;
use super::script::PRESENCE;
use super::{CALL_TIMEOUT, Redis, odd};
use crate::cluster::{EngineError, Member, NodeId, Subscriber};

/// Subscribers noted or forgotten by one script: others wait while it runs.
const PIECE: usize = 500;

/// Characters of a hub's id.
const HUB_CHARACTERS: usize = 32;

impl Redis {
    async fn presence(&self, what: &str, about: &str, arguments: &[&[u8]]) -> Result<Reply, EngineError> {
        let keys = [0, 1, 2, 3].map(|key| &*self.keys.presence[key]);
        let arguments: Vec<_> =
            [what.as_bytes(), about.as_bytes()].into_iter().chain(arguments.iter().copied()).collect();
        self.run(&PRESENCE, CALL_TIMEOUT, &keys, &arguments).await
    }

    pub(super) async fn presence_arrive(&self, node: NodeId, lease: Duration) -> Result<(), EngineError> {
        let lease = lease.as_millis().to_string();
        self.presence("arrive", &hex(node), &[lease.as_bytes()]).await.map(|_| ())
    }

    pub(super) async fn presence_renew(&self, node: NodeId, lease: Duration) -> Result<bool, EngineError> {
        let lease = lease.as_millis().to_string();
        let mut reply = self.presence("renew", &hex(node), &[lease.as_bytes()]).await?;
        Ok(reply.number()? == 1)
    }

    pub(super) async fn presence_enter(&self, node: NodeId, subscribers: &[Subscriber]) -> Result<(), EngineError> {
        for piece in subscribers.chunks(PIECE) {
            let of = |subscriber: &'_ Subscriber| [subscriber.id.clone(), subscriber.document.clone()];
            let arguments: Vec<_> = piece.iter().flat_map(of).collect();
            self.presence("enter", &hex(node), &arguments.iter().map(String::as_bytes).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    pub(super) async fn presence_leave(&self, node: NodeId, subscribers: &[String]) -> Result<(), EngineError> {
        for piece in subscribers.chunks(PIECE) {
            self.presence("leave", &hex(node), &piece.iter().map(String::as_bytes).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    pub(super) async fn presence_members(
        &self,
        cursor: &str,
        count: usize,
        bytes: usize,
    ) -> Result<(Vec<Member>, String), EngineError> {
        let limits = [count, bytes].map(|limit| limit.to_string());
        let mut reply = self.presence("members", cursor, &limits.each_ref().map(String::as_bytes)).await?;
        let next = reply.text()?;
        let mut members = Vec::new();
        while !reply.is_empty() {
            let place = reply.text()?;
            let (node, id) = of_hub(&place)?;
            members.push(Member { node, subscriber: Subscriber { id: id.to_owned(), document: reply.text()? } });
        }
        Ok((members, next))
    }

    pub(super) async fn presence_member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        let mut reply = self.presence("member", id, &[]).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        let known = reply.text()?;
        let (node, document) = of_hub(&known)?;
        let subscriber = Subscriber { id: id.to_owned(), document: document.to_owned() };
        Ok(Some(Member { node, subscriber }))
    }

    pub(super) async fn presence_claim(&self, node: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        let lease = lease.as_millis().to_string();
        let mut reply = self.presence("claim", &hex(node), &[lease.as_bytes()]).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        of_hub(&reply.text()?).map(|(dead, _)| Some(dead))
    }

    pub(super) async fn presence_left(
        &self,
        dead: NodeId,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Subscriber>, EngineError> {
        let limits = [count, bytes].map(|limit| limit.to_string());
        let mut reply = self.presence("left", &hex(dead), &limits.each_ref().map(String::as_bytes)).await?;
        let mut subscribers = Vec::new();
        while !reply.is_empty() {
            subscribers.push(Subscriber { id: reply.text()?, document: reply.text()? });
        }
        Ok(subscribers)
    }

    pub(super) async fn presence_bury(&self, dead: NodeId) -> Result<(), EngineError> {
        self.presence("bury", &hex(dead), &[]).await.map(|_| ())
    }
}

fn hex(node: NodeId) -> String {
    format!("{:032x}", u128::from_be_bytes(node.0))
}

/// Splits what begins with a hub's id.
fn of_hub(text: &str) -> Result<(NodeId, &str), EngineError> {
    let split = text.split_at_checked(HUB_CHARACTERS);
    let read = split.and_then(|(hub, rest)| Some((NodeId(u128::from_str_radix(hub, 16).ok()?.to_be_bytes()), rest)));
    read.ok_or_else(|| odd(&::redis::Value::Nil))
}
