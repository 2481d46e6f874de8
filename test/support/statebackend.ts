/**
 * A backend for Terraform's state by HTTP: `node statebackend.js ADDRESS PORT`. Each path is a
 * state of its own, with a lock. It prints a line for each request: method, path, and who has sent
 * it.
 *
 *   POST /NAME?slow=MILLISECONDS   is answered after this time
 */
import { createServer, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const states = new Map<string, string>();
const locks = new Map<string, string>();

interface Answer {
  readonly status: number;
  readonly body?: string;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  return body;
}

/** A lock is known by its whole description, which has an id. */
function lock(path: string, body: string): Answer {
  const held = locks.get(path);
  if (held !== undefined) return { status: 423, body: held };
  locks.set(path, body);
  return { status: 200 };
}

function store(path: string, id: string | null, body: string): Answer {
  const held = locks.get(path);
  if (held !== undefined && !held.includes(`"ID":"${id}"`)) return { status: 423, body: held };
  states.set(path, body);
  return { status: 200 };
}

function answer(method: string, { pathname, searchParams }: URL, body: string): Answer {
  switch (method) {
    case 'LOCK':
      return lock(pathname, body);
    case 'UNLOCK':
      locks.delete(pathname);
      return { status: 200 };
    case 'GET': {
      const state = states.get(pathname);
      return state === undefined ? { status: 404 } : { status: 200, body: state };
    }
    case 'POST':
      return store(pathname, searchParams.get('ID'), body);
    default:
      return { status: 405 };
  }
}

const [address = '127.0.0.1', port = '0'] = process.argv.slice(2);
const server = createServer((request, response) => {
  void (async () => {
    const { method = '', socket } = request;
    const url = new URL(request.url ?? '/', 'http://backend');
    process.stdout.write(`${method} ${url.pathname} ${socket.remoteAddress}\n`);
    const body = await bodyOf(request);
    if (method === 'POST') await sleep(Number(url.searchParams.get('slow') ?? 0));
    const { status, body: text = '' } = answer(method, url, body);
    response.writeHead(status).end(text);
  })().catch((error) => response.destroy(error));
});
// Node's parser knows LOCK and UNLOCK.
server.listen(Number(port), address, () => process.stdout.write('ready\n'));
