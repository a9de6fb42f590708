import java.io.InputStream;
import java.io.OutputStream;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** What both programs check, and how they end. */
final class Check {
  static final int REFUSED = 7999;
  static final int ECHO = 7000;
  static final int HTTP = 8080;
  static final int STEP_SECONDS = 15;

  interface Steps {
    void run(String kubeconfig, String pod, int port, int bytes) throws Exception;
  }

  private Check() {}

  /** Ends the process: the libraries leave threads behind. */
  static void run(String name, String[] args, Steps steps) {
    if (args.length != 4) {
      end(name, "usage: " + name + " KUBECONFIG POD PORT BYTES");
    }
    CompletableFuture.delayedExecutor(55, TimeUnit.SECONDS)
        .execute(() -> end(name, "took too long"));
    try {
      steps.run(args[0], args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]));
    } catch (Throwable why) {
      why.printStackTrace();
      end(name, why.toString());
    }
    Runtime.getRuntime().halt(0);
  }

  private static void end(String name, String why) {
    System.err.println(name + ": " + why);
    Runtime.getRuntime().halt(1);
  }

  static void that(boolean good, String why) {
    if (!good) {
      throw new IllegalStateException(why);
    }
  }

  static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  /** Sends and compares; the digest of what came. */
  static String echo(InputStream from, OutputStream to, int bytes) throws Exception {
    byte[] sent = new byte[bytes];
    for (int i = 0; i < bytes; i++) {
      sent[i] = (byte) (i % 251);
    }
    CompletableFuture<Void> sender =
        inBackground(
            () -> {
              to.write(sent);
              to.flush();
              return null;
            });
    byte[] got = inTime(inBackground(() -> from.readNBytes(bytes)), "to receive");
    inTime(sender, "to send");
    that(got.length == bytes, "ended after " + got.length + " bytes");
    that(Arrays.equals(got, sent), "other bytes came back");
    Thread.sleep(300);
    that(from.available() == 0, "more came back than was sent");
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(got));
  }

  static String oneLine(String text) {
    return text.isBlank() ? "(nothing shown)" : String.join(" ", text.strip().split("\\s+"));
  }

  interface Work<T> {
    T run() throws Exception;
  }

  static <T> CompletableFuture<T> inBackground(Work<T> work) {
    CompletableFuture<T> done = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                done.complete(work.run());
              } catch (Throwable why) {
                done.completeExceptionally(why);
              }
            });
    thread.setDaemon(true);
    thread.start();
    return done;
  }

  static <T> T inTime(CompletableFuture<T> future, String what) throws Exception {
    try {
      return future.get(STEP_SECONDS, TimeUnit.SECONDS);
    } catch (Exception why) {
      throw new IllegalStateException(what + ": " + why, why);
    }
  }
}
