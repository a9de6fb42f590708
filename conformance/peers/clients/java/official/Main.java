import io.kubernetes.client.PortForward;
import io.kubernetes.client.PortForward.PortForwardResult;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.KubeConfig;
import java.io.File;
import java.io.FileReader;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** The official Java client's PortForward as a peer. */
final class Main {
  private Main() {}

  public static void main(String[] args) {
    Check.run("client-java", args, Main::steps);
  }

  private static void steps(String file, String pod, int port, int bytes) throws Exception {
    KubeConfig kubeconfig;
    try (FileReader reader = new FileReader(file)) {
      kubeconfig = KubeConfig.loadKubeConfig(reader);
    }
    kubeconfig.setFile(new File(file));
    ApiClient client = ClientBuilder.kubeconfig(kubeconfig).build();
    String namespace = kubeconfig.getNamespace() == null ? "default" : kubeconfig.getNamespace();
    PortForward portForward = new PortForward(client);

    try (PortForwardResult result = portForward.forward(namespace, pod, List.of(port))) {
      Check.say(
          "ok echo "
              + Check.echo(result.getInputStream(port), result.getOutboundStream(port), bytes));
      InputStream errors = result.getErrorStream(port);
      byte[] number = Check.inTime(Check.inBackground(() -> errors.readNBytes(2)), "the number");
      announced(number, port);
      Check.that(errors.available() == 0, "something on the error stream");
    }

    Check.say("ok refused " + refused(portForward, namespace, pod));

    List<Integer> both = List.of(Check.ECHO, Check.HTTP);
    try (PortForwardResult result = portForward.forward(namespace, pod, both)) {
      byte[] request = "GET / HTTP/1.1\r\nHost: pod\r\n\r\n".getBytes(StandardCharsets.UTF_8);
      result.getOutboundStream(Check.HTTP).write(request);
      result.getOutboundStream(Check.HTTP).flush();
      Check.echo(
          result.getInputStream(Check.ECHO), result.getOutboundStream(Check.ECHO), 65_536);
      InputStream page = result.getInputStream(Check.HTTP);
      String status =
          new String(
              Check.inTime(Check.inBackground(() -> page.readNBytes(12)), "HTTP"),
              StandardCharsets.UTF_8);
      Check.that(status.equals("HTTP/1.1 200"), "HTTP: " + status);
      Check.say("ok two");
    }
  }

  /**
   * `forward` throws where the server's Close is there before it has looked, on a busy machine
   * many times in a row; see the README. What is asked here is what it shows when it gets that far.
   */
  private static String refused(PortForward portForward, String namespace, String pod)
      throws Exception {
    long began = System.nanoTime();
    for (int tries = 1; System.nanoTime() - began < Check.STEP_SECONDS * 1_000_000_000L; tries++) {
      try (PortForwardResult result =
          portForward.forward(namespace, pod, List.of(Check.REFUSED))) {
        InputStream errors = result.getErrorStream(Check.REFUSED);
        // In one thread: what comes after a pipe's reading thread has ended is lost.
        byte[] all = Check.inTime(Check.inBackground(errors::readAllBytes), "refusal");
        announced(all, Check.REFUSED);
        System.err.println("refused: shown at try " + tries);
        return Check.oneLine(new String(all, 2, all.length - 2, StandardCharsets.UTF_8));
      } catch (IllegalStateException closed) {
        // What Check throws has a message, the library's has none.
        if (closed.getMessage() != null) {
          throw closed;
        }
      }
    }
    return "(nothing shown)";
  }

  /** The library takes the port's number off the data channel, and leaves it on this one. */
  private static void announced(byte[] begin, int port) {
    Check.that(
        begin.length >= 2 && (begin[0] & 0xff) + (begin[1] & 0xff) * 256 == port,
        "another port's error stream");
  }
}
