// Asks a PostgreSQL server that only the jump host reaches for its version.
//
//   PGUSER=app PGPASSWORD=... node postgres.mjs user@jumphost db.example 5432
import { openTunnel } from 'tunnel-vpn';
import pg from 'pg';

const [remote, host, port] = process.argv.slice(2);

const tunnel = await openTunnel({ remote });
const client = new pg.Client({ host, port: Number(port), stream: () => tunnel.createSocket() });
try {
  await client.connect();
  const { rows } = await client.query('SELECT version()');
  process.stdout.write(`${rows[0].version}\n`);
} finally {
  await client.end();
  await tunnel.close();
}
