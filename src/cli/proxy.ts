/** `tunnel proxy`: SOCKS and HTTP proxies without capture. */
import { PROXY_GROUPS } from '../config/options.ts';
import { DEFAULT_PROXY_PORT } from '../config/proxyoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel proxy -r user@jumphost
      SOCKS and HTTP on 127.0.0.1:${DEFAULT_PROXY_PORT}; everything goes through jumphost, as with ssh -D
  tunnel proxy -r user@jumphost --http 3128 10.0.0.0/8 '*.cloud.example'
      an HTTP proxy; the rest is dialled from this machine
  tunnel proxy -r user@jumphost --only-targets api.cloud.example:443
      one service, and nothing else
  tunnel proxy -r user@jumphost --listen 192.0.2.1:1080 --proxy-auth users.txt
      for other machines, with passwords
`;

const AFTER = `
ADDRESS:PORT may be a PORT alone (127.0.0.1 and ::1), [v6-address]:PORT, localhost:PORT or
*:PORT (all addresses). PORT 0 is any free port; the log says which. Each option may be
given more than once.

TARGET is written as for "tunnel connect", or is a name: api.example.com, or
*.example.com for all names below it, with or without ports. For a request by name, the
name targets decide first. If none of them covers the name, its addresses decide, as this
machine or --dns-server resolves them. The jump host resolves the names that a name target
covers, and all names when there are no targets.

All other destinations are dialled from this machine, or refused with --only-targets.
Without targets everything is carried, also localhost, which then means the jump host's.

With --allow only what a rule of the file permits is opened through jumphost.
Connections dialled from this machine need no rule.

On loopback only processes of the user who runs the tunnel are served, unless
--proxy-shared or --proxy-auth is given.

The FILE of --proxy-auth has user:password lines and must be readable only by its owner.

Point programs to the proxy with http_proxy and https_proxy (http://127.0.0.1:${DEFAULT_PROXY_PORT}), or
with their own option, for curl: --proxy socks5h://127.0.0.1:${DEFAULT_PROXY_PORT}.

For browsers, http://127.0.0.1:${DEFAULT_PROXY_PORT}/proxy.pac is a proxy configuration by which
the targets go through the proxy and everything else goes directly.
`;

export const PROXY: CommandDeclaration = {
  name: 'proxy',
  description: 'offer a SOCKS and HTTP proxy that connects through the jump host; captures nothing',
  summary: 'offer a SOCKS and HTTP proxy instead',
  purpose: 'Run',
  usage: '-r REMOTE [options] [TARGET...]',
  takesOperands: true,
  groups: PROXY_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
  after: AFTER,
};
