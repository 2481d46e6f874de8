// A jump host written with Apache MINA SSHD: MinaServer PORT AUTHORIZED_KEYS HOST_KEY. Port 9 is
// denied. Prints "ready", and "session" when somebody opens a session channel.
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.apache.sshd.common.channel.Channel;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;
import org.apache.sshd.common.session.Session;
import org.apache.sshd.common.util.net.SshdSocketAddress;
import org.apache.sshd.server.SshServer;
import org.apache.sshd.server.channel.ChannelSessionFactory;
import org.apache.sshd.server.config.keys.AuthorizedKeysAuthenticator;
import org.apache.sshd.server.forward.DirectTcpipFactory;
import org.apache.sshd.server.forward.RejectAllForwardingFilter;

final class MinaServer {
    private static final int DENIED_PORT = 9;

    private MinaServer() {}

    private static final class Sessions extends ChannelSessionFactory {
        @Override
        public Channel createChannel(Session session) throws IOException {
            System.out.println("session");
            return super.createChannel(session);
        }
    }

    public static void main(String[] args) throws Exception {
        SshServer server = SshServer.setUpDefaultServer();
        server.setPort(Integer.parseInt(args[0]));
        server.setPublickeyAuthenticator(new AuthorizedKeysAuthenticator(Path.of(args[1])));
        server.setKeyPairProvider(new FileKeyPairProvider(Path.of(args[2])));
        server.setForwardingFilter(
                new RejectAllForwardingFilter() {
                    @Override
                    public boolean canConnect(Type type, SshdSocketAddress to, Session session) {
                        return to.getPort() != DENIED_PORT;
                    }
                });
        server.setChannelFactories(List.of(DirectTcpipFactory.INSTANCE, new Sessions()));
        server.start();
        System.out.println("ready");
        Thread.currentThread().join();
    }
}
