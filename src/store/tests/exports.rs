//! What was taken out of images is known over restarts, and goes with its image.

use super::*;
use crate::model::BuildKey;

#[tokio::test]
async fn exports_are_of_one_image_and_go_with_it() {
    let fixture = Fixture::new();
    let (key, node) = (BuildKey::from_digest([7; 32]), NodeId::local());
    let place = |image: &str| (image.to_owned(), "/srv/chal".to_owned());
    let file = Exported::File { sha256: "ab".to_owned(), size_bytes: 3 };
    let unknown = fixture.store.note_export(&node, key, place("sha256:1"), file.clone()).await;
    assert!(unknown.is_err(), "nobody wants that image");
    let (challenge, service) = ("PWN-001".parse().unwrap(), "chal".parse().unwrap());
    fixture.store.want_build(key, &challenge, &service, at(1)).await.unwrap();
    fixture.store.begin_build(key, at(2)).await.unwrap();
    let built = BuildOutcome::Built { image: "sha256:2".to_owned() };
    fixture.store.finish_build(key, built, String::new(), at(3)).await.unwrap();
    let fault = Exported::Fault("is not in the image".to_owned());
    for (image, exported) in [("sha256:1", &file), ("sha256:2", &file), ("sha256:2", &fault)] {
        fixture.store.note_export(&node, key, place(image), exported.clone()).await.unwrap();
    }
    let fixture = fixture.reopened();
    let known = [(place("sha256:1"), file), (place("sha256:2"), fault)].into();
    assert_eq!(fixture.store.exports(&node).await.unwrap(), known);
    assert_eq!(fixture.store.export_digests().await.unwrap(), ["ab".to_owned()].into());
    fixture.store.forget_build(key, "sha256:2".to_owned()).await.unwrap();
    assert!(fixture.store.exports(&node).await.unwrap().is_empty());
}
