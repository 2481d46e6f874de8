import { EXCHANGE_ROWS } from '../support/hostile/rows/exchange.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows('the key exchange', EXCHANGE_ROWS);
