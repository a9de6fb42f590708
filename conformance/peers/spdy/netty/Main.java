import java.util.Timer;
import java.util.TimerTask;

/** Netty's codec as a peer. See ../README.md for what it is asked to do. */
public final class Main {
    private static final long DEADLINE_MS = 120_000;

    public static void main(String[] args) {
        // Nothing here may outlive the test that started it.
        new Timer(true).schedule(new TimerTask() {
            @Override
            public void run() {
                fail(new Exception("still there after " + DEADLINE_MS + " ms"));
            }
        }, DEADLINE_MS);
        try {
            switch (args.length == 0 ? "" : args[0]) {
                case "server" -> Session.serve();
                case "client" -> Client.run(args);
                case "decode" -> Frames.decode(args.length > 1 ? Integer.parseInt(args[1]) : Integer.MAX_VALUE);
                case "encode" -> Frames.encode();
                default -> throw new Exception("usage: server | client PORT [BYTES [headers]] | decode [CHUNK] | encode");
            }
        } catch (Throwable e) {
            fail(e);
        }
        System.out.flush();
        // Netty's threads would go on.
        Runtime.getRuntime().halt(0);
    }

    static void fail(Throwable e) {
        System.err.println("spdy-netty: " + e);
        e.printStackTrace();
        Runtime.getRuntime().halt(1);
    }
}
