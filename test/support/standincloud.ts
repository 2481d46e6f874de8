/**
 * A stand-in of an OpenStack cloud for Terraform, on the loopback device: as much of Keystone,
 * Nova, Neutron and Glance as a rendered jump host needs. It refuses what the API reference doesn't
 * have, and writes down what it has refused.
 *
 *   /identity/v3   a token for one user, and the catalog        (here)
 *   /network/v2.0  standinneutron.ts
 *   /compute/v2.1, /image/v2  standinnova.ts
 */
import { randomUUID } from 'node:crypto';
import { createServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PROJECT, StandInNeutron } from './standinneutron.ts';
import { handleImages, named, StandInNova } from './standinnova.ts';
import {
  type ApiAnswer,
  type ApiRequest,
  bodyOf,
  type Check,
  checkFields,
  Refusal,
} from './standinrequest.ts';

const USER = 'terraform';
const PASSWORD = 'of-the-stand-in';
const DOMAIN = 'Default';
const REGION = 'RegionOne';

export class StandInCloud {
  readonly neutron = new StandInNeutron();
  readonly images = named('debian-12', 'debian-13');
  readonly nova = new StandInNova(this.neutron, this.images);
  /** Requests that were answered with an error, except those for what has been deleted. */
  readonly refused: string[] = [];
  readonly #token = randomUUID();
  readonly #server: HttpServer;

  private constructor() {
    this.#server = createServer((request, response) => {
      void this.#answer(request).then(({ status, body }) => {
        response.writeHead(status, {
          'Content-Type': 'application/json',
          'X-Subject-Token': this.#token,
        });
        response.end(body === undefined ? '' : JSON.stringify(body));
      });
    });
  }

  static async start(): Promise<StandInCloud> {
    const cloud = new StandInCloud();
    await new Promise<void>((resolve) => cloud.#server.listen(0, '127.0.0.1', resolve));
    return cloud;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** For the provider. */
  get environment(): Readonly<Record<string, string>> {
    return {
      OS_AUTH_URL: `${this.url}/identity/v3`,
      OS_USERNAME: USER,
      OS_PASSWORD: PASSWORD,
      OS_PROJECT_ID: PROJECT,
      OS_USER_DOMAIN_NAME: DOMAIN,
      OS_REGION_NAME: REGION,
    };
  }

  /** One request with the token. For tests of the stand-in itself. */
  async request(
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { 'X-Auth-Token': this.#token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Never rejects. */
  async #answer(message: IncomingMessage): Promise<ApiAnswer> {
    const { method = '', url = '/' } = message;
    try {
      const { pathname, searchParams } = new URL(url, this.url);
      const [service = '', version = '', ...path] = pathname.split('/').filter((it) => it !== '');
      const body = await bodyOfMessage(message);
      const request = { method, path, query: searchParams, body };
      if (service === 'identity') return this.#identity(version, request);
      if (message.headers['x-auth-token'] !== this.#token) throw new Refusal(401, 'no valid token');
      switch (`${service}/${version}`) {
        case 'network/v2.0':
          return this.neutron.handle(request);
        case 'compute/v2.1':
          return this.nova.handle(request);
        case 'image/v2':
          return handleImages(this.images, request);
        default:
          throw new Refusal(501, 'no such service');
      }
    } catch (error) {
      const status = error instanceof Refusal ? error.status : 500;
      // Terraform asks for what it has deleted until it is gone.
      if (status !== 404 || method !== 'GET') this.refused.push(`${method} ${url}: ${error}`);
      return { status, body: { error: { code: status, message: String(error) } } };
    }
  }

  #identity(version: string, { method, path, body }: ApiRequest): ApiAnswer {
    if (version === '')
      return {
        status: 300,
        body: {
          versions: {
            values: [
              {
                id: 'v3.14',
                status: 'stable',
                links: [{ rel: 'self', href: `${this.url}/identity/v3/` }],
              },
            ],
          },
        },
      };
    if (`${method} ${path.join('/')}` !== 'POST auth/tokens')
      throw new Refusal(501, 'not in this stand-in');
    checkFields(bodyOf(body, 'auth'), 'auth', { identity: passwordOfUser, scope: scopeOfProject });
    return { status: 201, body: { token: this.#tokenBody() } };
  }

  #tokenBody(): object {
    const service = (type: string, path: string) => ({
      id: randomUUID(),
      type,
      name: type,
      endpoints: [
        {
          id: randomUUID(),
          interface: 'public',
          region: REGION,
          region_id: REGION,
          url: `${this.url}${path}`,
        },
      ],
    });
    return {
      methods: ['password'],
      expires_at: '2036-01-01T00:00:00.000000Z',
      issued_at: '2026-01-01T00:00:00.000000Z',
      project: { id: PROJECT, name: 'project', domain: { id: 'default', name: 'Default' } },
      user: { id: PROJECT, name: USER, domain: { id: 'default', name: 'Default' } },
      roles: [{ id: PROJECT, name: 'member' }],
      catalog: [
        service('network', '/network'),
        service('compute', '/compute/v2.1'),
        service('image', '/image'),
      ],
    };
  }
}

/** Keystone tells nobody what was wrong. */
const known =
  (...values: readonly unknown[]): Check =>
  (value) => {
    if (!values.includes(value)) throw new Refusal(401, 'the request needs authentication');
  };

const passwordOfUser: Check = (identity, at) =>
  checkFields(identity, at, {
    methods: (methods, place) => {
      if (JSON.stringify(methods) !== '["password"]') throw new Refusal(400, `${place}: unknown`);
    },
    password: (password, place) =>
      checkFields(password, place, {
        user: (user, of) =>
          checkFields(user, of, {
            name: known(USER),
            password: known(PASSWORD),
            domain: (domain, its) => checkFields(domain, its, { name: known(DOMAIN) }),
          }),
      }),
  });

const scopeOfProject: Check = (scope, at) =>
  checkFields(scope, at, {
    project: (project, place) => checkFields(project, place, { id: known(PROJECT) }),
  });

async function bodyOfMessage(message: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? undefined : JSON.parse(text);
}
