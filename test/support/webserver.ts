/**
 * Files over HTTPS, for clients that check certificates: `node webserver.js DIRECTORY` serves
 * DIRECTORY/www on port 443 of all addresses with DIRECTORY/server.pem and server.key, and prints
 * `ready`.
 */
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:https';
import { join, normalize } from 'node:path';
import { pipeline } from 'node:stream/promises';

const directory = process.argv[2] ?? '.';
const root = join(directory, 'www');

const server = createServer(
  {
    cert: readFileSync(join(directory, 'server.pem')),
    key: readFileSync(join(directory, 'server.key')),
  },
  (request, response) => {
    const path = join(root, normalize(new URL(request.url ?? '/', 'https://lab').pathname));
    const size = statSync(path, { throwIfNoEntry: false });
    if (size === undefined || !size.isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader('X-Peer', request.socket.remoteAddress ?? '');
    response.setHeader('Content-Length', size.size);
    // A client may leave midway; that is no error here.
    pipeline(createReadStream(path), response).catch(() => response.destroy());
  },
);
server.listen(443, '::', () => process.stdout.write('ready\n'));
