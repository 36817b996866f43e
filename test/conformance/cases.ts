// All conformance cases, in the order in which they are started: those that wait in real time come first.
import type { Case } from './case.ts'
import { connectCases } from './cases/connect.ts'
import { connectionCases } from './cases/connection.ts'
import { deliveryCases } from './cases/delivery.ts'
import { encodingCases } from './cases/encoding.ts'
import { flowCases } from './cases/flow.ts'
import { propertyCases } from './cases/properties.ts'
import { retainCases } from './cases/retain.ts'
import { sessionCases } from './cases/session.ts'
import { shareCases } from './cases/share.ts'
import { subscribeCases } from './cases/subscribe.ts'

export const cases: readonly Case[] = [
  ...sessionCases,
  ...propertyCases,
  ...deliveryCases,
  ...connectCases,
  ...flowCases,
  ...encodingCases,
  ...subscribeCases,
  ...retainCases,
  ...shareCases,
  ...connectionCases,
]
