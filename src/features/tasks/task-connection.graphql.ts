import { builder } from '../../graphql/builder.ts'
import { TaskRef } from './task.graphql.ts'

/** A page of tasks, wherever a list of them is. */
export const TaskConnection = builder.connectionObject({ type: TaskRef, name: 'TaskConnection' })
