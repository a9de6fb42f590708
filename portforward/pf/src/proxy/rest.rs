//! The kube client through a proxy. Its own support asks no SOCKS5 proxy as a user, and shows the proxy's URL, with the
//! password in it, in errors.

use super::Through;
use crate::api;
use crate::dial;
use crate::exit::{Exit, Failure, Hop};
use http::Uri;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};

/// # Errors
/// Exit code 2 if certificates, keys or the proxy of the configuration are no good.
pub(crate) fn client(config: Config) -> Result<Client, Failure> {
    let url = api::url_of(&config);
    let unusable = |error: kube::Error| api::unusable(&url, &error);
    let Some(proxy) = &config.proxy_url else {
        return Client::try_from(config).map_err(&unusable);
    };
    // The kube client asks the provider itself, and knows of no proxy of ours.
    let provider = config.auth_info.auth_provider.as_ref();
    if provider.is_some_and(|provider| provider.name == "oidc") {
        let text =
            "the auth provider oidc cannot be used with a proxy yet: it would be asked around it";
        return Err(
            Failure::new(Exit::Usage, Hop::ApiServer(url.clone()), text.to_owned())
                .advise("use a token, or a credential plugin such as kubelogin"),
        );
    }
    let through = Through::of(proxy).map_err(|error| {
        let text = format!("the proxy: {error}");
        Failure::new(Exit::Usage, Hop::ApiServer(url.clone()), text)
    })?;
    let connector = config
        .rustls_https_connector_with_connector(Connector(Arc::new(through)))
        .map_err(unusable)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

#[derive(Clone)]
struct Connector(Arc<Through>);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let through = Arc::clone(&self.0);
        Box::pin(async move {
            let (host, port) = (super::host(&server), super::port(&server));
            let mut nobody = |_| {};
            let dialled = dial::proxied(&through, host, port, &mut nobody);
            match timeout(api::CONNECT, dialled).await {
                Ok(stream) => stream.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}
