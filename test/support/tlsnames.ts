/**
 * HTTPS for several names on one address and port: `node tlsnames.js DIRECTORY...` answers on 443
 * with the certificate of the directory `...-NAME` that the client's SNI (RFC 6066 §3) asks for,
 * sends the name, and prints `ready`.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { createSecureContext, type TLSSocket } from 'node:tls';

const contexts = process.argv.slice(2).map((directory) => ({
  directory,
  context: createSecureContext({
    cert: readFileSync(join(directory, 'server.pem')),
    key: readFileSync(join(directory, 'server.key')),
  }),
}));

const server = createServer(
  {
    SNICallback(name, done) {
      const found = contexts.find(({ directory }) => directory.endsWith(`-${name}`));
      if (found === undefined) done(new Error(`no certificate for ${name}`));
      else done(null, found.context);
    },
  },
  (request, response) => {
    response.end(`${(request.socket as TLSSocket & { servername?: string }).servername}\n`);
  },
);
server.listen(443, '::', () => process.stdout.write('ready\n'));
