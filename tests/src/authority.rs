//! An authority that nobody knows, and certificates that it signs.

use anyhow::Result;
use jiff::civil::Date;
use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// It lives as long as a scenario.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Who has this can show that an authority knows it.
pub struct Certified {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: KeyPair,
}

impl Authority {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        name(&mut params, "An authority of these tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// The certificate to trust, as PEM.
    pub fn pem(&self) -> String {
        certificate_pem(self.0.der())
    }

    /// A certificate for `common_name`, known by these names and addresses.
    pub fn certify(&self, common_name: &str, names: &[&str]) -> Result<Certified> {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)?;
        name(&mut params, common_name);
        self.sign(params)
    }

    /// A certificate for `common_name` that counts until this day begins.
    pub fn certify_until(&self, common_name: &str, end: Date) -> Result<Certified> {
        let mut params = CertificateParams::new(Vec::new())?;
        name(&mut params, common_name);
        let (month, day) = (u8::try_from(end.month())?, u8::try_from(end.day())?);
        params.not_after = date_time_ymd(i32::from(end.year()), month, day);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Certified> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?.der().clone();
        Ok(Certified { certificate, key })
    }
}

impl Certified {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    /// The key as PEM.
    pub fn key_pem(&self) -> String {
        pem::encode(&Pem::new("PRIVATE KEY", self.key.serialize_der()))
    }
}

fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&Pem::new("CERTIFICATE", certificate.to_vec()))
}

fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}
