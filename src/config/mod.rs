//! One typed configuration from flags, environment and file.
//!
//! `setting` has the settings as data; `layer` decides which word holds (flag beats environment, environment beats
//! file, file beats default); `load` gives the words their types and refuses what is unknown, unreadable or unsafe,
//! all of it at once. `dev` is what development mode adds, `data_folder` what survives a restart, `print` and `docs`
//! show all of it; `renew` reads it again while the hub runs. What a value does belongs to the part that uses it.

pub mod data_folder;
pub mod dev;
pub mod docs;
pub mod print;
pub mod setting;

mod acme;
mod admin;
mod amount;
mod cluster;
mod discovery;
mod environment;
mod file;
mod issuer;
mod key_set;
mod layer;
mod limits;
mod listen;
mod load;
pub(crate) mod memory;
mod nearest;
mod refusal;
mod renew;
mod tls;
mod value;

pub use acme::{Acme, AcmeChallenge, ExternalAccount};
pub use admin::{ADMIN_SOCKET, Admin, AdminListen};
pub use amount::{AmountError, format_duration, parse_count, parse_duration, parse_size};
pub use cluster::{Cluster, EngineKind};
pub use issuer::Secret;
pub use key_set::{KeySetSource, KeySetUrl, is_link_local};
pub use layer::{Layer, Place, Said, Source, flags};
pub use limits::{ClientLimits, PublishRate};
pub(crate) use listen::LISTENERS_MAX;
pub use listen::{Listen, Place as ListenPlace};
pub use load::{Config, History, HistoryEngine, IdKey, IoChoice};
pub use refusal::{Refusal, Refusals};
pub use renew::LIVE;
pub use tls::{CertificateFiles, DevelopmentCertificate};
