import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.LocalPortForward;
import io.fabric8.kubernetes.client.dsl.PodResource;
import java.io.File;
import java.net.Socket;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** fabric8's LocalPortForward as a peer. It has one port on a WebSocket. */
final class Main {
  private Main() {}

  public static void main(String[] args) {
    Check.run("client-fabric8", args, Main::steps);
  }

  private static void steps(String kubeconfig, String name, int port, int bytes)
      throws Exception {
    Config config = Config.fromKubeconfig(new File(kubeconfig));
    // Without one in the kubeconfig the library asks for a path without a namespace.
    String namespace = config.getNamespace() == null ? "default" : config.getNamespace();
    try (KubernetesClient client = new KubernetesClientBuilder().withConfig(config).build()) {
      PodResource pod = client.pods().inNamespace(namespace).withName(name);
      try (LocalPortForward forward = pod.portForward(port)) {
        try (Socket socket = connect(forward)) {
          Check.say(
              "ok echo " + Check.echo(socket.getInputStream(), socket.getOutputStream(), bytes));
        } catch (Exception why) {
          throw new IllegalStateException(why.getMessage() + "; " + shown(forward), why);
        }
        Check.that(!forward.errorOccurred(), shown(forward));
      }
      Check.say("ok refused " + refused(pod));
    }
  }

  private static Socket connect(LocalPortForward forward) throws Exception {
    Socket socket = new Socket(forward.getLocalAddress(), forward.getLocalPort());
    socket.setSoTimeout(1000 * Check.STEP_SECONDS);
    return socket;
  }

  private static String refused(PodResource pod) throws Exception {
    try (LocalPortForward forward = pod.portForward(Check.REFUSED);
        Socket socket = connect(forward)) {
      Check.that(socket.getInputStream().read() == -1, "bytes from a refused port");
      return Check.oneLine(shown(forward));
    }
  }

  private static String shown(LocalPortForward forward) {
    return Stream.concat(
            forward.getServerThrowables().stream(), forward.getClientThrowables().stream())
        .map(Throwable::toString)
        .collect(Collectors.joining("; "));
  }
}
