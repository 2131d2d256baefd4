//! Networks and named volumes: what the containers of an instance share.
//!
//! # Invariants
//! * A network has an explicit subnet and an explicit bridge name. Together they are the lock
//!   against doubles: Docker happily makes two networks of one name (E16).
//! * IPv6 is off: the host's firewall and our wall reason about IPv4.

use std::collections::HashMap;

use bollard::models::{
    Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
    NetworkInspect, VolumeCreateRequest,
};
use bollard::query_parameters::{ListNetworksOptions, ListVolumesOptions, RemoveVolumeOptions};
use futures_util::{StreamExt, TryStreamExt};

use super::connect::Call;
use super::{Docker, errors, names};
use crate::model::InstanceId;
use crate::release::spec::NetworkSpec;
use crate::runtime::{EngineError, NetworkSeen, VolumeSeen, labels};

impl Docker {
    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        let name = names::object(&spec.name)?;
        let call = Call::within(30, format!("create network {name}"));
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(spec.is_internal),
            attachable: Some(false),
            enable_ipv6: Some(false),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(spec.subnet.to_string()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            options: Some(HashMap::from([
                ("com.docker.network.bridge.name".to_owned(), spec.bridge.clone()),
                ("com.docker.network.bridge.enable_icc".to_owned(), "true".to_owned()),
            ])),
            labels: Some(labels::of_kind(&self.installation, labels::KIND_NETWORK)),
            ..NetworkCreateRequest::default()
        };
        let made = self
            .connection
            .raw(&call, |client| {
                let request = request.clone();
                async move { client.create_network(request).await }
            })
            .await?;
        match made {
            Ok(made) => Ok(made.id),
            Err(error) if errors::is_subnet_taken(&error) => {
                Err(EngineError::SubnetTaken { subnet: spec.subnet.to_string() })
            }
            Err(error) => Err(errors::map(&error, &call, self.connection.endpoint())),
        }
    }

    pub(super) async fn drop_network(&self, network: &str) -> Result<(), EngineError> {
        let Some(found) = self.inspect_network(network).await? else { return Ok(()) };
        if !labels::is_ours(&self.installation, found.labels.as_ref()) {
            return Err(EngineError::NotOurs { what: format!("network `{network}`") });
        }
        // By id from here on: a name may be shared by two networks.
        let id = found.id.clone().unwrap_or_else(|| network.to_owned());
        self.disconnect_ours(&id, &found).await?;
        let call = Call::within(60, format!("remove network {network}"));
        let removed = self
            .connection
            .run(&call, |client| {
                let id = id.clone();
                async move { client.remove_network(&id).await }
            })
            .await;
        match removed {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Takes our own containers off the network, and endpoints whose container is gone. A foreign
    /// container stays, and then the engine refuses the removal with its name.
    async fn disconnect_ours(&self, id: &str, found: &NetworkInspect) -> Result<(), EngineError> {
        for (container, end) in found.containers.iter().flatten() {
            let is_leftover = container.starts_with("ep-");
            let whom =
                if is_leftover { end.name.as_deref().unwrap_or(container) } else { container };
            match self.own_container(container).await {
                Ok(()) => (),
                Err(_) if is_leftover => (),
                Err(EngineError::NotOurs { .. } | EngineError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            }
            let request =
                NetworkDisconnectRequest { container: whom.to_owned(), force: Some(true) };
            let call = Call::within(30, format!("disconnect container {whom} from network {id}"));
            let done = self
                .connection
                .run(&call, |client| {
                    let request = request.clone();
                    async move { client.disconnect_network(id, request).await }
                })
                .await;
            match done {
                // Gone meanwhile. Whatever else refuses shows again at the removal itself.
                Ok(()) | Err(EngineError::NotFound { .. } | EngineError::Refused { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn plug_in(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.own_container(container).await?;
        let id = self.own_network(network).await?;
        let id =
            id.ok_or_else(|| EngineError::NotFound { what: format!("network `{network}`") })?;
        let call = Call::within(30, format!("connect container {container} to network {id}"));
        let request =
            NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
        let connected = self
            .connection
            .raw(&call, |client| {
                let (id, request) = (id.clone(), request.clone());
                async move { client.connect_network(&id, request).await }
            })
            .await?;
        match connected {
            Ok(()) => Ok(()),
            // A repeat: the container sits on it already.
            Err(error) if errors::reason(&error).contains("already exists in network") => Ok(()),
            Err(error) => Err(errors::map(&error, &call, self.connection.endpoint())),
        }
    }

    pub(super) async fn unplug(&self, network: &str, container: &str) -> Result<(), EngineError> {
        match self.own_container(container).await {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            other => other?,
        }
        let Some(id) = self.own_network(network).await? else { return Ok(()) };
        let call = Call::within(30, format!("disconnect container {container} from network {id}"));
        let request =
            NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let done = self
            .connection
            .raw(&call, |client| {
                let (id, request) = (id.clone(), request.clone());
                async move { client.disconnect_network(&id, request).await }
            })
            .await?;
        match done {
            Ok(()) => Ok(()),
            Err(error) if errors::reason(&error).contains("is not connected to") => Ok(()),
            Err(error) => match errors::map(&error, &call, self.connection.endpoint()) {
                EngineError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// The id of a network of ours; `None` when there is none.
    async fn own_network(&self, network: &str) -> Result<Option<String>, EngineError> {
        let Some(found) = self.inspect_network(network).await? else { return Ok(None) };
        if !labels::is_ours(&self.installation, found.labels.as_ref()) {
            return Err(EngineError::NotOurs { what: format!("network `{network}`") });
        }
        Ok(found.id)
    }

    pub(super) async fn seen_networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        let options = ListNetworksOptions {
            filters: Some(labels::filter(&self.installation, labels::KIND_NETWORK, &[])),
        };
        let listed = self
            .connection
            .run(&Call::read("list networks"), |client| {
                let options = options.clone();
                async move { client.list_networks(Some(options)).await }
            })
            .await?;
        // The listing does not say who is connected, an inspection does.
        let ids: Vec<_> = listed.into_iter().filter_map(|network| network.id).collect();
        let found: Vec<_> = futures_util::stream::iter(ids)
            .map(|id| async move { self.inspect_network(&id).await })
            .buffered(8)
            .try_collect()
            .await?;
        let mut seen: Vec<_> = found.into_iter().flatten().filter_map(as_seen).collect();
        seen.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(seen)
    }

    async fn inspect_network(&self, network: &str) -> Result<Option<NetworkInspect>, EngineError> {
        let network = names::object(network)?;
        let call = Call::read(format!("inspect network {network}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_network(network, None).await })
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn make_volume(
        &self,
        name: &str,
        instance: InstanceId,
    ) -> Result<(), EngineError> {
        let name = names::object(name)?;
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels::of_instance(&self.installation, labels::KIND_VOLUME, instance)),
            ..VolumeCreateRequest::default()
        };
        let call = Call::within(30, format!("create volume {name}"));
        let volume = self
            .connection
            .run(&call, |client| {
                let request = request.clone();
                async move { client.create_volume(request).await }
            })
            .await?;
        // The engine answers with the volume that exists, whoever made it.
        let labels = Some(&volume.labels);
        let is_same = labels::is_ours(&self.installation, labels)
            && labels::instance(labels) == Some(instance);
        if is_same {
            Ok(())
        } else {
            Err(EngineError::Conflict { what: format!("volume `{name}`") })
        }
    }

    pub(super) async fn drop_volume(&self, name: &str) -> Result<(), EngineError> {
        let name = names::object(name)?;
        let call = Call::read(format!("inspect volume {name}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_volume(name).await })
            .await;
        match found {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
            Ok(volume) if !labels::is_ours(&self.installation, Some(&volume.labels)) => {
                return Err(EngineError::NotOurs { what: format!("volume `{name}`") });
            }
            Ok(_) => (),
        }
        let call = Call::within(60, format!("remove volume {name}"));
        let removed = self
            .connection
            .run(&call, |client| async move {
                client.remove_volume(name, None::<RemoveVolumeOptions>).await
            })
            .await;
        match removed {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    pub(super) async fn seen_volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        let filters = labels::filter(&self.installation, labels::KIND_VOLUME, &[]);
        let mut seen = self.list_volumes(filters).await?;
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// Unnamed volumes of ours that no container uses.
    pub(super) async fn dangling_unnamed(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        let mut filters = labels::filter(&self.installation, labels::KIND_UNNAMED, &[]);
        filters.insert("dangling".to_owned(), vec!["true".to_owned()]);
        self.list_volumes(filters).await
    }

    async fn list_volumes(
        &self,
        filters: HashMap<String, Vec<String>>,
    ) -> Result<Vec<VolumeSeen>, EngineError> {
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self
            .connection
            .run(&Call::read("list volumes"), |client| {
                let options = options.clone();
                async move { client.list_volumes(Some(options)).await }
            })
            .await?;
        let volumes = listed.volumes.unwrap_or_default().into_iter();
        Ok(volumes
            .map(|volume| VolumeSeen {
                instance: labels::instance(Some(&volume.labels)),
                name: volume.name,
            })
            .collect())
    }
}

fn as_seen(found: NetworkInspect) -> Option<NetworkSeen> {
    let subnets = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Some(NetworkSeen {
        id: found.id?,
        name: found.name.unwrap_or_default(),
        subnet: subnets.iter().find_map(|config| config.subnet.as_deref()?.parse().ok()),
        is_internal: found.internal.unwrap_or_default(),
        n_containers: found.containers.map_or(0, |containers| containers.len()),
    })
}
