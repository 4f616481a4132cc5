//! Metadata services. Those that are asked one question and differ in
//! nothing else are rows of [`SERVICES`]; the others are modules of their own.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub(super) use crate::fetch::LINK_LOCAL;
use crate::fetch::{Call, Fetcher, Reach};

use super::{Provider, ProviderError, Raw};

/// Services that give the config by one question.
const SERVICES: [Row; 5] = [
    Row {
        name: "digitalocean",
        service: "DigitalOcean user data",
        path: "/metadata/v1/user-data",
        header: None,
        again: &[],
        encoding: Encoding::Plain,
    },
    Row {
        name: "gcp",
        service: "Google Cloud attribute user-data",
        path: "/computeMetadata/v1/instance/attributes/user-data",
        header: Some(("Metadata-Flavor", "Google")),
        again: &[],
        encoding: Encoding::Plain,
    },
    Row {
        name: "hetzner",
        service: "Hetzner user data",
        path: "/hetzner/v1/userdata",
        header: None,
        again: &[],
        encoding: Encoding::Plain,
    },
    Row {
        name: "oraclecloud",
        service: "Oracle Cloud user_data",
        path: "/opc/v2/instance/metadata/user_data",
        header: Some(("Authorization", "Bearer Oracle")),
        again: &[429],
        encoding: Encoding::Base64,
    },
    Row {
        name: "vultr",
        service: "Vultr user data",
        path: "/user-data/user-data",
        header: None,
        again: &[],
        encoding: Encoding::Plain,
    },
];

#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    service: &'static str,
    path: &'static str,
    header: Option<(&'static str, &'static str)>,
    again: &'static [u16],
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Plain,
    Base64,
}

/// A metadata service that gives the config by one question.
#[derive(Debug, Clone)]
pub struct Service {
    base: String,
    row: Row,
}

impl Service {
    /// The service of `platform`, if it is one of these.
    pub fn of_platform(platform: &str) -> Option<Self> {
        let row = SERVICES.into_iter().find(|row| row.name == platform)?;
        Some(Self {
            base: LINK_LOCAL.to_owned(),
            row,
        })
    }

    /// The same service elsewhere, for tests.
    pub fn at(self, base: String) -> Self {
        Self { base, ..self }
    }
}

impl Provider for Service {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let header = self.row.header.into_iter();
        let answer = Question {
            name: self.row.name,
            service: self.row.service,
            url: format!("{}{}", self.base, self.row.path),
            headers: header
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            again: self.row.again,
        }
        .ask(fetcher)?;
        match self.row.encoding {
            Encoding::Plain => Ok(answer),
            Encoding::Base64 => answer.map(Raw::base64_decoded).transpose(),
        }
    }
}

/// A question to a metadata service.
pub struct Question<'a> {
    /// The provider's name.
    pub name: &'static str,
    /// The service as people know it.
    pub service: &'a str,
    /// What is asked for.
    pub url: String,
    /// Headers that the service wants to see.
    pub headers: Vec<(&'static str, String)>,
    /// Statuses below 500 that mean "not yet".
    pub again: &'static [u16],
}

impl Question<'_> {
    /// Asks; None if the service has nothing there.
    pub fn ask(self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let headers = self.headers.into_iter();
        let call = Call {
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            again: self.again,
            reach: Reach::Link,
            ..Call::get(self.url.as_str())
        };
        let answer = fetcher.ask(&call).map_err(|source| ProviderError::Fetch {
            name: self.name,
            source,
        })?;
        Ok(answer.map(|bytes| Raw {
            source: format!("{} ({})", self.service, self.url),
            bytes,
        }))
    }
}

impl Raw {
    /// Undoes the base64 that some services put around what they were given.
    pub(super) fn base64_decoded(self) -> Result<Self, ProviderError> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let mut packed = self.bytes;
        packed.retain(|byte| !byte.is_ascii_whitespace());
        match LENIENT.decode(packed) {
            Ok(bytes) => Ok(Self {
                source: self.source,
                bytes,
            }),
            Err(error) => Err(ProviderError::Encoding {
                place: self.source,
                message: format!("expected base64: {error}"),
            }),
        }
    }
}
