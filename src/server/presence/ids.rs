//! The ids of subscribers: the place of a connection, enciphered, so that nothing has to be kept to find it again.

use crate::hub::SlotId;
use crate::protocol::event_id::IdCipher;

/// Names connections by a key of this run: no id is ever given twice, and none says how many there are.
#[derive(Debug)]
pub(crate) struct SubscriberIds(IdCipher);

impl SubscriberIds {
    /// `key` must be random and new at every start.
    pub(crate) fn new(key: [u8; 32]) -> SubscriberIds {
        SubscriberIds(IdCipher::new(key))
    }

    /// `urn:uuid:…`
    pub(crate) fn name(&self, shard: usize, id: SlotId) -> String {
        let shard = u32::try_from(shard).expect("a hub has few shards");
        String::from_utf8(self.0.encode(shard, id.to_bits()).to_vec()).expect("an id is ASCII")
    }

    /// The connection of a name this run gave.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, SlotId)> {
        let (shard, bits) = self.0.decode(name)?;
        Some((shard as usize, SlotId::from_bits(bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_connection_and_to_no_other_run() {
        let [ids, others] = [[1; 32], [2; 32]].map(SubscriberIds::new);
        let id = SlotId { slot: 70_000, generation: 9 };
        let name = ids.name(3, id);
        assert_eq!(ids.find(&name), Some((3, id)));
        assert_eq!(others.find(&name), None);
        assert_ne!(name, ids.name(3, SlotId { generation: 10, ..id }));
    }
}
