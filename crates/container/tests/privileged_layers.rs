//! Root filesystems of layers that are EROFS images rather than directories.

mod pod;

use std::path::PathBuf;
use std::process::Command;

use container::RuntimeHandler;
use pod::Pod;

/// The layer that the Pod's containers have, as an image.
fn image_of(pod: &Pod) -> PathBuf {
    let directory = pod.directory.path();
    let image = directory.join("image.erofs");
    let made = Command::new("mkfs.erofs").arg(&image).arg(directory.join("image")).output();
    assert!(made.expect("erofs-utils is installed").status.success());
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_the_mount_of_a_layer_that_is_an_image() {
    let mut pod = Pod::new().await;
    let image = image_of(&pod);
    for key in ["one/0", "two/0"] {
        let mut request = pod.script(key, "test ! -e /bin/own && echo own > /bin/own; cat /bin/own");
        request.rootfs.lower = vec![image.clone()];
        let (exit, output) = pod.run_request(request).await;
        assert_eq!((exit.code, output.as_str()), (0, "own\n"), "what one writes the other does not see");
    }
    assert_eq!(std::fs::read_dir(pod.pod_dir().join("layers")).unwrap().count(), 1);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crun_gets_layers_that_are_images() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("one/0", "echo from an image");
    request.rootfs.lower = vec![image_of(&pod)];
    request.runtime = RuntimeHandler::External("/usr/bin/crun".into());
    let (exit, output) = pod.run_request(request).await;
    assert_eq!((exit.code, output.as_str()), (0, "from an image\n"));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_no_image_is_told_by_its_path() {
    let pod = Pod::new().await;
    let mut request = pod.script("one/0", "true");
    let layer = pod.directory.path().join("damaged");
    std::fs::write(&layer, [0; 8192]).unwrap();
    request.rootfs.lower = vec![layer.clone()];
    let error = pod.start(request).await.unwrap_err().to_string();
    assert!(error.contains("mount the layer") && error.contains(&*layer.to_string_lossy()), "{error}");
    pod.finish().await;
}
